import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { podSpecs, workspace } from "../cli/generate/test-workspace.ts";
import { type Program, startProgram } from "./programs.ts";
import { setManifest, webManifest } from "./web-deployment.ts";

/**
 * Applications that are not root read their key. `generate` writes the pod; the Initializer runs as the pod says, as root
 * without any capability; the key is then read by users of all kinds.
 */

const ADDRESS = "127.88.3.1";
const policies = ["the Coordinator's policy", "web's policy"].map((text) => Buffer.from(text));
const WITHOUT_CAPABILITIES = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--clear-groups"];

const NOT_ROOT = process.getuid?.() === 0 ? "" : ": not root";
const NO_SETPRIV = spawnSync("setpriv", ["--version"]).status === 0 ? "" : ": there is no setpriv";
const missing = NOT_ROOT || NO_SETPRIV;

let directory: string;
let coordinator: Program;

async function startCoordinator(): Promise<void> {
  directory = mkdtempSync(join(tmpdir(), "key-group-test-"));
  chmodSync(directory, 0o755);
  const now = new Date();
  const vendor = await openOrCreateVendor(join(directory, "vendor"), now);
  const hashes = policies.map((policy) => createHash("sha256").update(policy).digest()) as [Buffer, Buffer];
  for (const [index, hostData] of hashes.entries()) await vendor.launch(join(directory, `vm${index}`), { hostData });
  coordinator = startProgram(["coordinator/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm0"),
    CONTRAST_STATE_DIR: join(directory, "state"),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  });
  await coordinator.line("ready");
  await setManifest(ADDRESS, webManifest(vendor, hashes), policies);
}

interface PodUnderTest {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly pod?: object;
  readonly container?: object;
}

interface Written {
  /** The folder with the Initializer's files. */
  readonly folder: string;
  readonly pod: Readonly<Record<string, unknown>>;
}

/** Writes the pod's files by `generate`, and its certificates by an Initializer with the user and variables of the pod. */
async function initialize({ annotations = {}, pod = {}, container = {} }: PodUnderTest): Promise<Written> {
  const named = Object.entries(annotations).map(([name, value]) => [`contrast.edgeless.systems/${name}`, value]);
  const template = {
    metadata: { annotations: Object.fromEntries(named) as object },
    spec: {
      runtimeClassName: "contrast-cc",
      securityContext: pod,
      containers: [{ name: "web", image: "web:1", command: ["web"], securityContext: container }],
    },
  };
  const text = stringify({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web" }, spec: { template } });
  const { run, read } = await workspace({ "web.yml": text });
  await run();
  expect((await run()).changedFiles).toEqual([]);
  const { web } = podSpecs(await read("app/web.yml"));
  const [initializer] = web.initContainers;
  expect(initializer.securityContext.capabilities.add ?? []).not.toContain("CHOWN");

  const folder = mkdtempSync(join(directory, "tls-"));
  // As the kubelet makes an emptyDir: writable for all, and of the pod's group if it has one.
  const { fsGroup } = web.securityContext;
  if (fsGroup !== undefined) chownSync(folder, 0, fsGroup);
  chmodSync(folder, fsGroup === undefined ? 0o777 : 0o2777);
  const mode = initializer.env.find(({ name }: { name: string }) => name === "CONTRAST_KEY_MODE")?.value;
  const program = startProgram(
    ["initializer/main.ts"],
    {
      COORDINATOR_HOST: ADDRESS,
      CONTRAST_TLS_CONFIG_DIR: folder,
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm1"),
      ...(mode !== undefined && { CONTRAST_KEY_MODE: mode }),
    },
    ["setpriv", "--reuid=0", `--regid=${initializer.securityContext.runAsGroup ?? 0}`, ...WITHOUT_CAPABILITIES],
  );
  expect(await program.exited, JSON.stringify(program.log)).toBe(0);
  return { folder, pod: web };
}

/** Whether this user reads all secret files. */
function reads(folder: string, user: number, group: number, groups: readonly number[] = []): boolean {
  const more = groups.length === 0 ? "--clear-groups" : `--groups=${groups.join(",")}`;
  const results = ["key.pem", "workload-secret-seed", "secrets/workload-secret-seed"].map((name) => {
    const identity = [`--reuid=${user}`, `--regid=${group}`, more, "--bounding-set=-all", "--inh-caps=-all"];
    return spawnSync("setpriv", [...identity, "cat", join(folder, name)]).status === 0;
  });
  expect(new Set(results).size).toBe(1);
  return results[0] ?? false;
}

const STRANGER = [4000, 4000] as const;

describe.skipIf(missing !== "")(`the key of a pod${missing}`, () => {
  beforeAll(startCoordinator, 60_000);
  afterAll(async () => {
    coordinator.child.kill("SIGKILL");
    await coordinator.exited;
    rmSync(directory, { recursive: true });
  });

  test.each<[string, PodUnderTest, readonly [number, number, number[]?]]>([
    ["runAsGroup of a container", { container: { runAsUser: 1000, runAsGroup: 2000 } }, [1000, 2000]],
    ["runAsGroup of the pod", { pod: { runAsUser: 1000, runAsGroup: 2000 } }, [1000, 2000]],
    ["fsGroup", { pod: { fsGroup: 3000 }, container: { runAsUser: 1000 } }, [1000, 1000, [3000]]],
    ["runAsUser alone, whose group only the image knows", { container: { runAsUser: 1000 } }, [1000, 0, [1000]]],
    [
      "an annotation",
      { annotations: { "key-group": "5000" }, pod: { supplementalGroups: [5000] }, container: { runAsUser: 1000 } },
      [1000, 1000, [5000]],
    ],
  ])("is read by a user that has %s", async (_, pod, [user, group, groups]) => {
    const { folder, pod: written } = await initialize(pod);
    const { supplementalGroups = [] } = written["securityContext"] as { supplementalGroups?: number[] };
    if (groups !== undefined && pod.pod === undefined) expect(supplementalGroups).toEqual(groups);
    expect(reads(folder, user, group, groups)).toBe(true);
    // The mesh proxy.
    expect(reads(folder, 0, 0)).toBe(true);
    expect(reads(folder, ...STRANGER)).toBe(false);
    expect(statSync(join(folder, "key.pem")).mode & 0o777).toBe(0o440);
    expect(statSync(join(folder, "certChain.pem")).mode & 0o777).toBe(0o444);
  });

  test.each<[string, PodUnderTest]>([
    ["nothing is said about users", {}],
    ["the annotation is empty", { annotations: { "key-group": "" }, container: { runAsUser: 1000, runAsGroup: 2000 } }],
    ["the application is root", { container: { runAsUser: 0, runAsGroup: 0 } }],
  ])("is read by root alone where %s", async (_, pod) => {
    const { folder } = await initialize(pod);
    expect(reads(folder, 0, 0)).toBe(true);
    expect(reads(folder, 1000, 2000)).toBe(false);
    expect(reads(folder, 1000, 0)).toBe(false);
    expect(statSync(join(folder, "key.pem")).mode & 0o777).toBe(0o400);
  });

  test("is replaced by a second run of the Initializer, as after a restart of the pod's sandbox", async () => {
    const folder = join(directory, "again");
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    const args = ["--reuid=0", "--regid=2000", ...WITHOUT_CAPABILITIES, process.execPath, "initializer/main.ts"];
    const env = {
      PATH: process.env["PATH"] ?? "",
      COORDINATOR_HOST: ADDRESS,
      CONTRAST_TLS_CONFIG_DIR: folder,
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: join(directory, "vm1"),
      CONTRAST_KEY_MODE: "0440",
    };
    for (let run = 1; run <= 2; run++) {
      execFileSync("setpriv", args, { cwd: join(import.meta.dirname, ".."), env, stdio: "pipe" });
      expect(reads(folder, 1000, 2000)).toBe(true);
      expect(reads(folder, ...STRANGER)).toBe(false);
    }
  });
});
