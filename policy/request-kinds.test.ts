import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { policyOf } from "./policy.ts";
import { NO_ENGINE, startEngine } from "./test-engine.ts";
import { type Engine, isAllowed } from "./test-opa.ts";
import { IMAGES, testPod } from "./test-pods.ts";
import { idOf } from "./test-mounts.ts";
import type { Request } from "./test-container.ts";

/** What the host may ask for, apart from containers: every message of agent.proto that is a request. */

if (NO_ENGINE !== undefined) test.skip(`a policy answers every kind of request: ${NO_ENGINE}`);
else
  describe("a policy", () => {
    let engine: Engine;

    beforeAll(async () => {
      const { subject, spec } = testPod("image defaults");
      engine = await startEngine({ policy: policyOf(subject, spec, IMAGES) });
    });
    afterAll(() => engine.stop());

    const allows = async (request: Request): Promise<boolean> =>
      isAllowed((await engine.ask([{ ...request, policy: "policy" }]))[0]);

    test.each([
      ["AddSwapPathRequest", { path: "/dev/vdb" }, false],
      ["AddSwapRequest", { PCIPath: [2] }, false],
      ["AllowRequestsFailingPolicy", {}, false],
      ["CloseStdinRequest", { container_id: "", exec_id: "" }, false],
      ["DestroySandboxRequest", {}, true],
      ["GetDiagnosticDataRequest", {}, false],
      ["GetIPTablesRequest", { is_ipv6: false }, false],
      ["GetMetricsRequest", {}, false],
      ["GetOOMEventRequest", {}, true],
      ["GuestDetailsRequest", { mem_block_size: true, mem_hotplug_probe: true }, true],
      ["ListInterfacesRequest", {}, false],
      ["ListRoutesRequest", {}, false],
      ["MemAgentCompactConfig", {}, false],
      ["MemAgentMemcgConfig", {}, false],
      ["MemHotplugByProbeRequest", { memHotplugProbeAddr: [1] }, false],
      ["OnlineCPUMemRequest", { wait: false, nb_cpus: 1, cpu_only: false }, true],
      ["PauseContainerRequest", { container_id: "" }, false],
      ["PullImageRequest", { image: "x" }, false],
      ["ReadStreamRequest", { container_id: "", exec_id: "", len: 32768 }, true],
      ["RemoveContainerRequest", { container_id: "", timeout: 0 }, true],
      ["RemoveStaleVirtiofsShareMountsRequest", {}, true],
      ["ReseedRandomDevRequest", { data: [1] }, false],
      ["ResizeVolumeRequest", { volume_guest_path: "/x", size: 1 }, false],
      ["ResumeContainerRequest", { container_id: "" }, false],
      ["SetGuestDateTimeRequest", { Sec: 1, Usec: 1 }, false],
      ["SetIPTablesRequest", { is_ipv6: false, data: [] }, false],
      ["SetPolicyRequest", { policy: "package agent_policy" }, false],
      ["SignalProcessRequest", { container_id: "", exec_id: "", signal: 15 }, true],
      ["StartTracingRequest", {}, false],
      ["StatsContainerRequest", { container_id: "" }, true],
      ["StopTracingRequest", {}, false],
      ["TtyWinResizeRequest", { container_id: "", exec_id: "", row: 1, column: 1 }, false],
      ["UpdateContainerRequest", { container_id: "", resources: null }, false],
      ["UpdateEphemeralMountsRequest", { storages: [] }, false],
      ["VolumeStatsRequest", { volume_guest_path: "/x" }, false],
      ["WaitProcessRequest", { container_id: "", exec_id: "" }, true],
      ["WriteStreamRequest", { container_id: "", exec_id: "", data: [1] }, false],
      ["ARequestOfTomorrow", {}, false],
    ])("answers %s", async (kind, request, allowed) => {
      expect(await allows({ kind, request })).toBe(allowed);
    });

    const copy = `/run/kata-containers/shared/containers/${idOf("x")}-${idOf("x", 16)}`;
    const [FILE, FOLDER, LINK, DEVICE] = [0o100644, 0o040755, 0o120777, 0o020600];
    const [SETUID, SETGID, SHARED_FOLDER, DISK, SOCKET] = [0o104755, 0o102755, 0o042770, 0o060600, 0o140600];
    test.each([
      ["a file for a container", `${copy}-hosts`, FILE, null, true],
      ["a folder for a container", `${copy}-config`, FOLDER, null, true],
      ["a file in such a folder", `${copy}-config/..data/key..`, FILE, null, true],
      ["a link inside of such a folder", `${copy}-config/key`, LINK, "..data/key", true],
      ["a link to a path from the root", `${copy}-config/key`, LINK, "/run/kata-containers/sandbox/ephemeral", false],
      ["a link that leads out", `${copy}-config/key`, LINK, "../../sandbox", false],
      ["a link in the place of a copy", `${copy}-config`, LINK, `${idOf("x")}/rootfs/local/v`, false],
      ["such a link by a detour", `${copy}-config/.`, LINK, `${idOf("x")}/rootfs/local/v`, false],
      ["one by another", `${copy}-config/`, LINK, `${idOf("x")}/rootfs/local/v`, false],
      ["a link without a target", `${copy}-config/key`, LINK, null, false],
      ["a device", `${copy}-config`, DEVICE, null, false],
      ["a disk", `${copy}-config`, DISK, null, false],
      ["a socket", `${copy}-config`, SOCKET, null, false],
      ["a file that is of no kind", `${copy}-config`, 0o644, null, false],
      ["a program that runs as its owner", `${copy}-config/x`, SETUID, null, false],
      ["a program that runs in its group", `${copy}-config/x`, SETGID, null, false],
      ["a folder whose files get its group", `${copy}-config`, SHARED_FOLDER, null, true],
      ["a file outside", "/etc/resolv.conf", FILE, null, false],
      ["a file that is reached by way of such a folder", `${copy}-config/../../../x`, FILE, null, false],
      ["a file in the root of a container", `/run/kata-containers/${idOf("x")}/rootfs/bin/sh`, FILE, null, false],
      [
        "a file in an emptyDir",
        `/run/kata-containers/shared/containers/${idOf("x")}/rootfs/local/v/f`,
        FILE,
        null,
        false,
      ],
      [
        "a file in an emptyDir of today",
        `/run/kata-containers/shared/containers/${idOf("x")}/local/v/f`,
        FILE,
        null,
        false,
      ],
      ["a file in memory", "/run/kata-containers/sandbox/ephemeral/contrast-tls-certs/key.pem", FILE, null, false],
    ])("answers a copy of %s", async (_, path, file_mode, symlink_target, allowed) => {
      const request = { path, file_size: 1, file_mode, dir_mode: 0o750, uid: 0, gid: 0, offset: 0, symlink_target };
      expect(await allows({ kind: "CopyFileRequest", request })).toBe(allowed);
    });

    const link = { device: "eth0", name: "eth0", mtu: 1500, hwAddr: "66:74:9f:6a:96:01", raw_flags: 128, type_: "" };
    const ip = (address: string) => [{ address, family: 0, mask: "24" }];
    const route = { dest: "", gateway: "10.244.0.1", device: "eth0", source: "", scope: 0, family: 0, flags: 0 };
    const neighbor = {
      toIPAddress: ip("10.244.0.1")[0],
      device: "eth0",
      lladdr: "66:74:9f:6a:96:02",
      state: 128,
      flags: 0,
    };
    const [LOOPBACK, LOOPBACK6] = ["127.137.0.1", "::1"];
    test.each([
      ["an interface", "UpdateInterfaceRequest", { interface: { ...link, IPAddresses: ip("10.244.0.14") } }, true],
      ["loopback", "UpdateInterfaceRequest", { interface: { ...link, name: "lo", IPAddresses: [] } }, false],
      ["loopback's device", "UpdateInterfaceRequest", { interface: { ...link, device: "lo", IPAddresses: [] } }, false],
      [
        "the address of loopback",
        "UpdateInterfaceRequest",
        { interface: { ...link, hwAddr: "00:00:00:00:00:00" } },
        false,
      ],
      ["other flags", "UpdateInterfaceRequest", { interface: { ...link, raw_flags: 8 } }, false],
      [
        "an IP address of loopback",
        "UpdateInterfaceRequest",
        { interface: { ...link, IPAddresses: ip(LOOPBACK) } },
        false,
      ],
      ["one of IPv6", "UpdateInterfaceRequest", { interface: { ...link, IPAddresses: ip("00::001") } }, false],
      ["a route", "UpdateRoutesRequest", { routes: { Routes: [route] } }, true],
      [
        "a route over loopback",
        "UpdateRoutesRequest",
        { routes: { Routes: [route, { ...route, device: "lo" }] } },
        false,
      ],
      [
        "a route to loopback",
        "UpdateRoutesRequest",
        { routes: { Routes: [{ ...route, dest: `${LOOPBACK}/32` }] } },
        false,
      ],
      [
        "a route from loopback",
        "UpdateRoutesRequest",
        { routes: { Routes: [{ ...route, source: LOOPBACK6 }] } },
        false,
      ],
      [
        "a route by loopback",
        "UpdateRoutesRequest",
        { routes: { Routes: [{ ...route, gateway: `::ffff:${LOOPBACK}` }] } },
        false,
      ],
      ["a neighbor", "AddARPNeighborsRequest", { neighbors: { ARPNeighbors: [neighbor] } }, true],
      [
        "a neighbor at loopback",
        "AddARPNeighborsRequest",
        { neighbors: { ARPNeighbors: [{ ...neighbor, device: "lo" }] } },
        false,
      ],
      [
        "loopback as a neighbor",
        "AddARPNeighborsRequest",
        { neighbors: { ARPNeighbors: [{ ...neighbor, toIPAddress: { address: LOOPBACK } }] } },
        false,
      ],
    ])("answers %s", async (_, kind, request, allowed) => {
      expect(await allows({ kind, request })).toBe(allowed);
    });
  });
