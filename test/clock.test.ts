import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { ChannelClient } from "../channel/client.ts";
import { enroll } from "../initializer/enroll.ts";
import { generateEcKey } from "../pki/keys.ts";
import { buildTime } from "../runtime/build-time.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { type Program, startProgram } from "./programs.ts";

/** The programs, on a machine whose host sets the clock. */

const ADDRESS = "127.88.14.1";
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

const deployment = createCliDeployment(ADDRESS);
const clock = mkdtempSync(join(tmpdir(), "clock-test-"));
const running: Program[] = [];

/** By how much the clock of the programs is wrong. One who was just built would take one of minutes ago for too early. */
const offset = join(clock, "offset");
const shim = join(clock, "shim.mjs");
writeFileSync(
  shim,
  `import { readFileSync } from "node:fs";
const Real = Date;
const now = () => Real.now() + Number(readFileSync(${JSON.stringify(offset)}, "utf8"));
globalThis.Date = class extends Real {
  constructor(...args) { if (args.length === 0) super(now()); else super(...args); }
  static now() { return now(); }
};`,
);
const setClock = (wrong: number): void => writeFileSync(offset, `${wrong}`);
const NODE_OPTIONS = `--import=${pathToFileURL(shim).href}`;
const SOMEBODYS_RIGHT_TIME = DAY;

function start(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Program {
  const program = startProgram(args, { NODE_OPTIONS, CONTRAST_LOG_FORMAT: "json", ...environment });
  running.push(program);
  return program;
}

async function contrast(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const program = start(["cli/main.ts", "--insecure", "--workspace-dir", deployment.file("."), ...args]);
  const code = await program.exited;
  return { code, stdout: program.stdout(), stderr: program.text.join("\n") };
}

function startCoordinator(state: string): Program {
  return start(["coordinator/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: deployment.file("simulated-tee/coordinator"),
    CONTRAST_STATE_DIR: join(deployment.directory, state),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  });
}

const files = join(deployment.directory, "deployment");
const set = (): ReturnType<typeof contrast> => contrast("set", "-c", ADDRESS, files);

beforeAll(async () => {
  setClock(SOMEBODYS_RIGHT_TIME);
  const generated = await contrast("generate", "--offline", "--reference-values", "simulated", files);
  expect(generated.code, generated.stderr).toBe(0);
  await startCoordinator("state").line("ready");
  const { code, stderr } = await set();
  expect(code, stderr).toBe(0);
}, 120_000);

afterAll(async () => {
  for (const { child, exited } of running) {
    child.kill("SIGKILL");
    await exited;
  }
  await deployment.remove();
  rmSync(clock, { recursive: true });
});

const manifest = (): { NotBefore: string } => JSON.parse(deployment.read("manifest.json")) as { NotBefore: string };

test("generate writes when the manifest was made, and keeps it while nothing changes", async () => {
  const before = deployment.read("manifest.json");
  const made = Date.parse(manifest().NotBefore);
  expect(manifest().NotBefore).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(Math.abs(made - Date.now() - SOMEBODYS_RIGHT_TIME)).toBeLessThan(5 * MINUTE);
  setClock(2 * DAY);
  await contrast("generate", "--offline", "--reference-values", "simulated", files);
  expect(deployment.read("manifest.json")).toBe(before);
  setClock(SOMEBODYS_RIGHT_TIME);
});

test("with its clock before the manifest, a Coordinator lets nobody in, issues nothing, and changes nothing", async () => {
  const web = await openSimulatedAttester(deployment.file("simulated-tee/web"));
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${ADDRESS}:7777`, keys, attester: web, handshakeMs: 10_000 });
  const issue = (): Promise<unknown> => client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 10_000));
  const enrol = (): Promise<unknown> => enroll(`${ADDRESS}:7777`, web, keys, () => new Date());
  const tooEarly = expect.objectContaining({ code: "clock_before_manifest", transient: true }) as unknown;
  await issue();

  // Clocks differ, but not by that much.
  setClock(SOMEBODYS_RIGHT_TIME - 4 * MINUTE);
  await issue();

  setClock(SOMEBODYS_RIGHT_TIME - 10 * MINUTE);
  await expect(enrol()).rejects.toEqual(tooEarly);
  // Whoever was verified before gets no certificate by this clock, either.
  await expect(issue()).rejects.toEqual(tooEarly);
  const refused = await set();
  expect(refused.stderr).toMatch(/clock_before_manifest: .*\$\.NotBefore/);
  expect(refused.code).not.toBe(0);

  setClock(SOMEBODYS_RIGHT_TIME);
  await issue();
  client.close();
});

test("with its clock before the manifest, the CLI believes no Coordinator", async () => {
  setClock(SOMEBODYS_RIGHT_TIME - 10 * MINUTE);
  const refused = await contrast("verify", "-c", ADDRESS);
  expect(refused.stderr).toMatch(/clock_before_manifest: .*\$\.NotBefore.*correct the clock/);
  expect(refused.code).toBe(3);
  setClock(SOMEBODYS_RIGHT_TIME);
  expect((await contrast("verify", "-c", ADDRESS)).code).toBe(0);
});

const built = buildTime();
if (built === undefined) test.skip("a time before the build: this checkout has no history to take it from");

test.runIf(built !== undefined)(
  "before the time of its build no Coordinator starts, and no CLI believes one",
  async () => {
    const before = (built?.getTime() ?? 0) - Date.now() - MINUTE;
    setClock(before);
    const coordinator = startCoordinator("another-state");
    expect(await coordinator.exited).toBe(1);
    expect(coordinator.log.at(-1)?.msg).toMatch(/^clock_before_build: .*build time/);
    const file = deployment.file("manifest.json");
    const text = readFileSync(file, "utf8");
    // By this manifest alone any time would do.
    deployment.editManifest((value) => delete value["NotBefore"]);
    const refused = await contrast("verify", "-c", ADDRESS);
    writeFileSync(file, text);
    expect(refused.stderr).toContain("clock_before_build");
    expect(refused.code).toBe(3);
    setClock(SOMEBODYS_RIGHT_TIME);
  },
);
