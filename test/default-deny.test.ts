import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { asRoot, Network, NO_PODS, type Pod } from "./netns/pods.ts";
import type { Program } from "./programs.ts";

/** The Initializer and a pod's ports: those that nothing guards, in a guest that starts with them denied, and those of a mesh. */

const DENY = "INPUT -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP".split(" ");
const PORT = 8080;

let directory: string;

if (NO_PODS !== undefined) test.skip(`default deny: ${NO_PODS}`);

describe.runIf(NO_PODS === undefined)("a guest's default deny", { timeout: 120_000 }, () => {
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "default-deny-"));
    const vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
    const policies: Record<string, object> = {};
    for (const role of ["coordinator", ""]) {
      const policy = Buffer.from(`the policy of ${role || "web"}`);
      const hash = createHash("sha256").update(policy).digest();
      await vendor.launch(join(directory, role || "web", "vm"), { hostData: hash });
      await writeFile(join(directory, role || "web", "policy"), policy);
      policies[hash.toString("hex")] = { SANs: ["web"], WorkloadSecretID: "", Role: role };
    }
    const reference = { RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT };
    const manifest = {
      Policies: policies,
      ReferenceValues: { insecure: [reference] },
      WorkloadOwnerKeyDigests: [],
      SeedshareOwnerPubKeys: [],
    };
    await writeFile(join(directory, "manifest.json"), JSON.stringify(manifest));
  });

  afterAll(async () => rm(directory, { recursive: true }));

  const tee = (name: string): Record<string, string> => ({
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, name, "vm"),
    CONTRAST_LOG_FORMAT: "json",
  });

  async function startCoordinator(pod: Pod): Promise<void> {
    const address = { CONTRAST_LISTEN_ADDRESS: pod.ipv4, CONTRAST_STATE_DIR: await mkdtemp(join(directory, "state-")) };
    await pod.start(["coordinator/main.ts"], { ...tee("coordinator"), ...address }).line("ready");
    const files = ["manifest.json", "coordinator/policy", "web/policy"].map((name) => join(directory, name));
    const set = pod.start(["test/netns/set-manifest.ts", `${pod.ipv4}:1313`, ...files]);
    expect(await set.exited).toBe(0);
  }

  test("stays until the Initializer has succeeded where it is told to lift it", async () => {
    const network = await Network.create();
    const [coordinator, pod] = [await network.addPod(), await network.addPod()];
    await pod.start(["test/netns/application.ts", pod.ipv4, `${PORT}`]).line("listening");
    pod.run("iptables-legacy", "-I", ...DENY);
    const initialize = async (lift: string, capabilities: string): Promise<Program> => {
      const initializer = pod.start(
        ["initializer/main.ts"],
        {
          ...tee("web"),
          COORDINATOR_HOST: coordinator.ipv4,
          CONTRAST_TLS_CONFIG_DIR: join(directory, "volume"),
          CONTRAST_TIMEOUT: "20s",
          CONTRAST_LIFT_DEFAULT_DENY: lift,
        },
        asRoot(capabilities),
      );
      await initializer.exited;
      return initializer;
    };
    const call = async (): Promise<string> => coordinator.call(pod.ipv4, PORT, "plain");

    await startCoordinator(coordinator);
    expect((await initialize("", "+net_admin,+net_raw")).child.exitCode).toBe(0);
    expect(await call()).toBe("silence");

    const powerless = await initialize("1", "-all");
    expect(powerless.child.exitCode).toBe(1);
    expect(powerless.log.at(-1)).toMatchObject({ level: "fatal", code: "iptables_failed" });
    expect(await call()).toBe("silence");

    const initializer = await initialize("1", "+net_admin,+net_raw");
    expect(initializer.child.exitCode).toBe(0);
    expect(initializer.log.slice(-2).map(({ msg }) => msg)).toEqual([
      "certificates written",
      "the guest's default deny is removed",
    ]);
    expect(await call()).toBe("hello");
  });

  test("is nothing that a pod with an ingress needs: its rules come before its certificates, and stay", async () => {
    const network = await Network.create();
    const [coordinator, pod] = [await network.addPod(), await network.addPod()];
    const volume = join(directory, "mesh-volume");
    const start = (ingress: Record<string, string>): Program =>
      pod.start(
        ["initializer/main.ts"],
        {
          ...tee("web"),
          COORDINATOR_HOST: coordinator.ipv4,
          CONTRAST_TLS_CONFIG_DIR: volume,
          CONTRAST_TIMEOUT: "20s",
          ...ingress,
        },
        asRoot("+net_admin,+net_raw"),
      );
    const files = async (): Promise<string[]> => readdir(volume).catch(() => []);

    const faulty = start({ CONTRAST_INGRESS_PROXY_CONFIG: "", CONTRAST_LIFT_DEFAULT_DENY: "1" });
    expect(await faulty.exited).toBe(2);
    expect(faulty.log.at(-1)?.msg).toContain("want it unset where CONTRAST_INGRESS_PROXY_CONFIG is set");

    // While it waits for a Coordinator, which there is not, the host ends it and starts the application.
    const waiting = start({ CONTRAST_INGRESS_PROXY_CONFIG: "" });
    await waiting.line("requesting certificates");
    waiting.child.kill("SIGKILL");
    await waiting.exited;
    await pod.start(["test/netns/application.ts", "::", `${PORT}`]).line("listening");
    const call = async (): Promise<string[]> =>
      Promise.all([pod.ipv4, pod.ipv6].map(async (host) => coordinator.call(host, PORT, "plain")));
    expect(await call()).toEqual(["silence", "silence"]);
    expect(await files()).toEqual([]);

    await startCoordinator(coordinator);
    expect(await start({ CONTRAST_INGRESS_PROXY_CONFIG: "" }).exited).toBe(0);
    expect(await files()).toContain("key.pem");
    expect(await call()).toEqual(["silence", "silence"]);
  });

  test("a pod that was reached before its Initializer ran gets no certificate, however often it asks", async () => {
    const network = await Network.create();
    const [coordinator, pod] = [await network.addPod(), await network.addPod()];
    const volume = join(directory, "early-volume");
    await startCoordinator(coordinator);
    const application = pod.start(["test/netns/application.ts", "::", `${PORT}`]);
    await application.line("listening");
    expect(await coordinator.call(pod.ipv6, PORT, "plain")).toBe("hello");
    application.child.kill("SIGKILL");
    await application.exited;
    const variables = {
      ...tee("web"),
      COORDINATOR_HOST: coordinator.ipv4,
      CONTRAST_TLS_CONFIG_DIR: volume,
      CONTRAST_INGRESS_PROXY_CONFIG: "",
    };
    for (let times = 0; times < 2; times++) {
      const initializer = pod.start(["initializer/main.ts"], variables, asRoot("+net_admin,+net_raw"));
      expect(await initializer.exited).toBe(1);
      expect(initializer.log.at(-1)).toMatchObject({ level: "fatal", code: "reached_before" });
    }
    expect(await readdir(volume).catch(() => [])).toEqual([]);
  });

  test("is lifted for a pod that needs no certificates, and asks for no Coordinator", async () => {
    const network = await Network.create();
    const [client, pod] = [await network.addPod(), await network.addPod()];
    await pod.start(["test/netns/application.ts", pod.ipv4, `${PORT}`]).line("listening");
    pod.run("iptables-legacy", "-I", ...DENY);
    expect(await client.call(pod.ipv4, PORT, "plain")).toBe("silence");
    const lift = pod.start(["initializer/main.ts", "lift-default-deny"], {}, asRoot("+net_admin,+net_raw"));
    expect(await lift.exited).toBe(0);
    expect(await client.call(pod.ipv4, PORT, "plain")).toBe("hello");
  });
});
