import { createHash, X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { createMesh, writeTlsConfig } from "../pki/test-mesh.ts";
import { asPlainUser, asRoot, Network, NO_PLAIN_USER, NO_PODS, type Pod } from "./netns/pods.ts";
import type { Program } from "./programs.ts";
import { webManifest } from "./web-deployment.ts";

/**
 * A guest whose attestation agent answers everybody on loopback: an application that fetches what it is asked for, an
 * outsider who asks, and what the Initializer does about it.
 */

const APP = 8080;
const API = "127.0.0.1:8006";
const PRIVILEGED = "+net_admin,+net_raw";

let folder: string;

if (NO_PODS !== undefined) test.skip(`CoCo's attestation API in a pod: ${NO_PODS}`);

describe.runIf(NO_PODS === undefined)("CoCo's attestation API in a pod", { timeout: 120_000 }, () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "attestation-api-"));
    await chmod(folder, 0o755);
    const vendor = await openOrCreateVendor(join(folder, "vendor"), new Date());
    const hashes: Buffer[] = [];
    for (const name of ["coordinator", "web"]) {
      const policy = Buffer.from(`the policy of ${name}`);
      hashes.push(createHash("sha256").update(policy).digest());
      await vendor.launch(join(folder, name), { hostData: hashes.at(-1) ?? Buffer.alloc(32) });
      await writeFile(join(folder, `${name}.policy`), policy);
    }
    const [coordinator = Buffer.alloc(0), web = Buffer.alloc(0)] = hashes;
    await writeFile(join(folder, "manifest.json"), webManifest(vendor, [coordinator, web], ""));
  });

  afterAll(async () => rm(folder, { recursive: true }));

  interface Scene {
    readonly coordinator: Pod;
    readonly pod: Pod;
    readonly outsider: Pod;
  }

  /** A Coordinator, and a guest where the API answers; nothing else runs in it. */
  async function scene(host = "127.0.0.1"): Promise<Scene> {
    const network = await Network.create();
    const [coordinator, pod, outsider] = [await network.addPod(), await network.addPod(), await network.addPod()];
    const started = coordinator.start(["coordinator/main.ts"], {
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: join(folder, "coordinator"),
      CONTRAST_LOG_FORMAT: "json",
      CONTRAST_LISTEN_ADDRESS: coordinator.ipv4,
      CONTRAST_STATE_DIR: await mkdtemp(join(folder, "state-")),
    });
    await started.line("ready");
    const files = ["manifest.json", "coordinator.policy", "web.policy"].map((name) => join(folder, name));
    const set = coordinator.start(["test/netns/set-manifest.ts", `${coordinator.ipv4}:1313`, ...files]);
    expect(await set.exited).toBe(0);
    await pod.start(["test/netns/coco-api.ts", host, join(folder, "web")]).line("listening");
    return { coordinator, pod, outsider };
  }

  async function initialize(
    { pod, coordinator }: Scene,
    environment: Record<string, string> = {},
    capabilities = PRIVILEGED,
  ): Promise<Program & { readonly volume: string }> {
    const volume = await mkdtemp(join(folder, "volume-"));
    const initializer = pod.start(
      ["initializer/main.ts"],
      {
        CONTRAST_TEE: "coco",
        COORDINATOR_HOST: coordinator.ipv4,
        CONTRAST_TLS_CONFIG_DIR: volume,
        CONTRAST_TIMEOUT: "20s",
        CONTRAST_LOG_FORMAT: "json",
        ...environment,
      },
      asRoot(capabilities),
    );
    await initializer.exited;
    return { ...initializer, volume };
  }

  const startApplication = async (pod: Pod, within: readonly string[] = []): Promise<Program> => {
    const application = pod.start(["test/netns/fetching-application.ts", "::", `${APP}`], {}, within);
    await application.line("listening");
    return application;
  };

  /** What the outsider gets out of it. */
  async function forge({ coordinator, pod, outsider }: Scene, api = API): Promise<string> {
    const application = `http://${pod.ipv4}:${APP}`;
    const forger = outsider.start(["test/netns/forger.ts", `${coordinator.ipv4}:7777`, application, api]);
    await forger.exited;
    return forger.stdout();
  }

  const nameIn = async (volume: string): Promise<string | undefined> =>
    new X509Certificate(await readFile(join(volume, "certChain.pem"))).subjectAltName;

  test("without the Initializer an outsider gets the pod's certificate", async () => {
    const set = await scene();
    await startApplication(set.pod);
    expect(await forge(set)).toBe("DNS:web");
  });

  test.each(["auto", "coco"])("%s: the Initializer gets it, and leaves no way to the API", async (tee) => {
    const set = await scene();
    const initializer = await initialize(set, { CONTRAST_TEE: tee, CONTRAST_TSM_REPORT_DIR: join(folder, "none") });
    expect(initializer.child.exitCode, initializer.log.map(({ msg }) => msg).join("\n")).toBe(0);
    expect(await nameIn(initializer.volume)).toBe("DNS:web");
    await startApplication(set.pod);
    for (const api of [API, "0.0.0.0:8006", "localhost:8006", "[::ffff:127.0.0.1]:8006"]) {
      expect(await forge(set, api), api).toBe("the application got TimeoutError");
    }
  });

  const users: [string, readonly string[]][] = [
    ["the Initializer's own user, root", []],
    ["root with what a container has", asRoot("+net_raw,+net_bind_service,+setuid,+setgid")],
    ["another user", asPlainUser("+net_bind_service")],
  ];
  test.skipIf(NO_PLAIN_USER !== undefined).each(users)("it refuses %s", async (_, within) => {
    const set = await scene();
    expect((await initialize(set)).child.exitCode).toBe(0);
    await startApplication(set.pod, within);
    expect(await forge(set)).toBe("the application got TimeoutError");
  });

  test("ways around: a destination that is translated, every local address, a listener on all of them", async () => {
    const set = await scene("0.0.0.0");
    const { pod } = set;
    expect((await initialize(set)).child.exitCode).toBe(0);
    await startApplication(pod);
    const dnat = "-t nat -A OUTPUT -p tcp --dport 9999 -j DNAT --to-destination 127.0.0.1:8006".split(" ");
    pod.run("iptables-nft", ...dnat);
    const local = "-t nat -A PREROUTING -p tcp --dport 9998 -j DNAT --to-destination 127.0.0.1:8006".split(" ");
    pod.run("iptables-nft", ...local);
    pod.run("sh", "-c", "for all in /proc/sys/net/ipv4/conf/*/route_localnet; do echo 1 > $all; done");
    for (const api of ["127.0.0.1:9999", `${pod.ipv4}:8006`, "127.8.0.6:8006"]) {
      expect(await forge(set, api), api).toBe("the application got TimeoutError");
    }
    // Led in from outside it would come to loopback.
    const reached = set.outsider.start(["test/netns/reach.ts", `tcp:${pod.ipv4}:9998`]);
    await reached.exited;
    expect(JSON.parse(reached.stdout())).toEqual({ [`tcp:${pod.ipv4}:9998`]: "silence" });
  });

  test.each([
    ["1", "hello"],
    ["", "silence"],
  ])("the mesh proxy in mode bind is no way to it, unless it was left open: %j", async (open, expected) => {
    const network = await Network.create();
    const [pod, outsider] = [await network.addPod(), await network.addPod()];
    // What is behind the port is not what matters here.
    await pod.start(["test/netns/application.ts", "127.0.0.1", "8006"]).line("listening");
    const mesh = await createMesh();
    const tls = await writeTlsConfig(mesh, await mesh.issue());
    const environment = { CONTRAST_LOG_FORMAT: "json", CONTRAST_OPEN_ATTESTATION_API: open };
    const closed = pod.start(["initializer/main.ts", "lift-default-deny"], environment, asRoot(PRIVILEGED));
    expect(await closed.exited).toBe(0);
    const proxy = pod.start(["mesh-proxy/main.ts"], {
      CONTRAST_LOG_FORMAT: "json",
      CONTRAST_TLS_CONFIG_DIR: tls,
      CONTRAST_INGRESS_PROXY_CONFIG: "",
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: pod.ipv4,
      CONTRAST_INGRESS_TARGET: "127.0.0.1",
      CONTRAST_INGRESS_PORTS: "8006",
    });
    await proxy.line("ready");
    expect(await outsider.call(pod.ipv4, 8006, "mutual", tls)).toBe(expected);
    await rm(tls, { recursive: true });
  });

  test("a connection that an application had before is cut", async () => {
    const set = await scene();
    const { pod } = set;
    const before = pod.start(["test/netns/kept-connection.ts", API]);
    await before.line("answered");
    expect((await initialize(set)).child.exitCode).toBe(0);
    before.child.kill("SIGUSR2");
    expect((await before.line("again"))["result"]).toBe("silence");
  });

  test("an Initializer that is started again gets its evidence again, and closes it again", async () => {
    const set = await scene();
    expect((await initialize(set)).child.exitCode).toBe(0);
    const second = await initialize(set);
    expect(second.child.exitCode).toBe(0);
    expect(await nameIn(second.volume)).toBe("DNS:web");
    await startApplication(set.pod);
    expect(await forge(set)).toBe("the application got TimeoutError");
  });

  test("without NET_ADMIN there is no certificate, unless the pod's owner says so, loudly", async () => {
    const set = await scene();
    const refused = await initialize(set, {}, "+net_bind_service");
    expect(refused.child.exitCode).toBe(1);
    expect(refused.log.at(-1)).toMatchObject({ code: "attestation_api_open" });
    const open = await initialize(set, { CONTRAST_OPEN_ATTESTATION_API: "1" }, "+net_bind_service");
    expect(open.child.exitCode).toBe(0);
    expect(open.log.find(({ msg }) => msg.includes("OPEN"))).toMatchObject({ level: "warn" });
  });

  test("a pod that gets no certificate is closed by static-rules and by lift-default-deny", async () => {
    for (const command of ["static-rules", "lift-default-deny"]) {
      const set = await scene();
      const environment = {
        CONTRAST_LOG_FORMAT: "json",
        ...(command === "static-rules" && { CONTRAST_INGRESS_PROXY_CONFIG: `web#${APP}#true` }),
      };
      const started = set.pod.start(["initializer/main.ts", command], environment, asRoot(PRIVILEGED));
      expect(await started.exited).toBe(0);
      await startApplication(set.pod);
      expect(await forge(set), command).toBe("the application got TimeoutError");
    }
  });
});
