import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Program, startProgram } from "./programs.ts";

/** The CLI as users run it, against a Coordinator that runs as a program. */

const ADDRESS = "127.85.0.1";
const COORDINATOR = ["-c", `${ADDRESS}:1313`];
const root = join(import.meta.dirname, "..");

let directory: string;
let deployment: string;
const running: Program[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "cli-test-"));
  deployment = join(directory, "deployment");
  cpSync(join(root, "demo/deployment"), deployment, { recursive: true });
  const generated = await contrast("generate", "--offline", "--reference-values", "simulated", deployment);
  expect(generated.stderr).toContain("made the key");
  expect(generated.code).toBe(0);
});

afterAll(async () => {
  for (const program of running) {
    program.child.kill("SIGKILL");
    await program.exited;
  }
  rmSync(directory, { recursive: true });
});

async function contrast(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const program = startProgram(["cli/main.ts", "--workspace-dir", workspace(), ...args]);
  const code = await program.exited;
  const stderr = [...program.text, ...program.log.map((line) => JSON.stringify(line))].join("\n");
  // Whatever happens, nobody is shown a stack trace.
  expect(stderr).not.toMatch(/^\s+at .*:\d+/m);
  return { code, stdout: program.stdout(), stderr };
}

const workspace = (): string => join(directory, "workspace");
const file = (name: string): string => join(workspace(), name);

async function startCoordinator(vm = "coordinator", state = "state"): Promise<Program> {
  const program = startProgram(["coordinator/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: file(`simulated-tee/${vm}`),
    CONTRAST_STATE_DIR: join(directory, state),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  });
  running.push(program);
  await program.line("ready");
  return program;
}

async function stop(program: Program): Promise<void> {
  program.child.kill("SIGTERM");
  expect(await program.exited).toBe(0);
}

describe("wrong use", () => {
  test.each([
    [["frobnicate"], /unknown command/],
    [["verfy"], /unknown command 'verfy'\n\(Did you mean verify\?\)/],
    [["help", "sett"], /unknown command 'sett'\n\(Did you mean set\?\)/],
    [["verify", "-c", "a", "--manifst", "x"], /unknown option '--manifst'\n\(Did you mean --manifest\?\)/],
    [["--workspace-dir", "/no/such/workspace", "verify", "-c", "a"], /unreadable_file.*\/no\/such\/workspace/],
    [["completion", "tcsh"], /Allowed choices are bash, zsh, fish/],
    [["verify", "-c", "a", "--frobnicate"], /unknown option/],
    [["verify"], /required option '-c, --coordinator/],
    [["verify", "-c", "host:0"], /Want host:port/],
    [["verify", "-c", "http://host?x"], /Want host:port/],
    [["generate", "--reference-values", "sgx", "x.yml"], /Allowed choices are aks-clh-snp/],
    [["generate", "--reference-values", "simulated"], /missing required argument 'path'/],
    [["generate", "--reference-values", "simulated", "/no/such/file.yml"], /\/no\/such\/file\.yml/],
    [["--output", "xml", "verify", "-c", "a"], /Allowed choices are text, json/],
    [["--insecure", "set", "-c", "a", "/no/such/folder"], /\/no\/such\/folder/],
    [["verify", "-c", "a", "-m", "/no/such/manifest.json"], /unreadable_file.*\/no\/such\/manifest\.json/],
  ])("contrast %j is refused with exit code 2", async (args, message) => {
    const { code, stdout, stderr } = await contrast(...args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(stdout).toBe("");
  });

  test.each([
    ["broken.yml", "kind: Pod\n  spec: [", /broken\.yml:2:/],
    ["rules.yml", pod("servicemesh-ingress: web#08080#false"), /rules\.yml:\d+:\d+.*servicemesh-ingress.*"08080"/s],
    [
      "egress.yml",
      pod("servicemesh-egress: web#10.0.0.1:80#web:80"),
      /egress\.yml:\d+:\d+.*"10\.0\.0\.1".*127\.0\.0\.0\/8/s,
    ],
  ])("%s is refused with its place, and nothing is written", async (name, text, message) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    const before = readFileSync(file("manifest.json"));
    const { code, stderr } = await contrast("generate", "--offline", "--reference-values", "simulated", path);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(readFileSync(path, "utf8")).toBe(text);
    expect(readFileSync(file("manifest.json"))).toEqual(before);
  });

  test.each([
    ["{", /malformed_json.*1:2/],
    ['{"Policies": {}, "Policies": {}}', /duplicate_key.*\$\.Policies/],
    ['{"Polices": {}}', /\$\.Polices/],
  ])("the manifest %j is refused with its path", async (text, message) => {
    const path = join(directory, "bad-manifest.json");
    writeFileSync(path, text);
    const { code, stderr } = await contrast("--insecure", "verify", ...COORDINATOR, "-m", path);
    expect(stderr.replaceAll("\n", " ")).toMatch(message);
    expect(code).toBe(2);
  });

  test("--help and --version work everywhere", async () => {
    const { stdout } = await contrast("--version");
    expect(stdout).toMatch(/^contrast \d+\.\d+\.\d+\nimages:\n {2}contrast\/coordinator:/);
    expect(stdout).toMatch(/^ {2}k3s-qemu-tdx {3}contrast-cc-k3s-qemu-tdx-[0-9a-f]{8}$/m);
    expect(JSON.parse((await contrast("verify", "--version", "--output", "json")).stdout)).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      runtimeClasses: { simulated: expect.stringMatching(/^contrast-cc-simulated-/) },
    });
    for (const command of ["generate", "set", "verify", "recover"]) {
      for (const words of [
        [command, "--help"],
        ["help", command],
      ]) {
        const { code, stdout } = await contrast(...words);
        expect(stdout).toContain(`Usage: contrast ${command}`);
        expect(code).toBe(0);
      }
    }
  });
});

function pod(annotation: string): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    contrast.edgeless.systems/${annotation}
spec:
  runtimeClassName: contrast-cc
  containers: [{ name: web, image: web }]
`;
}

test("generate makes keys that only their owner can read, and changes nothing the second time", async () => {
  for (const key of ["workload-owner.pem", "seedshare-owner.pem"]) {
    expect(statSync(file(key)).mode & 0o777).toBe(0o600);
  }
  const digest = (): string[] =>
    [
      ...readdirSync(deployment).map((name) => join(deployment, name)),
      file("manifest.json"),
      file("workload-owner.pem"),
    ].map((path) => createHash("sha256").update(readFileSync(path)).digest("hex"));
  const before = digest();
  expect((await contrast("generate", "--offline", "--reference-values", "simulated", deployment)).code).toBe(0);
  expect(digest()).toEqual(before);
});

test("findings are lines of standard error and a list of the result, and errors among them stop with exit code 2", async () => {
  const path = join(directory, "findings.yml");
  const generate = async (text: string, ...options: string[]): ReturnType<typeof contrast> => {
    writeFileSync(path, text);
    return contrast(
      "--output",
      "json",
      "generate",
      "--offline",
      "--reference-values",
      "metal-qemu-snp",
      "-m",
      file("other.json"),
      ...options,
      path,
    );
  };
  const text = pod('servicemesh-ingress: ""');
  const warned = await generate(text);
  expect(warned.code).toBe(0);
  const { findings } = JSON.parse(warned.stdout) as { findings: { code: string; severity: string }[] };
  expect(findings.map(({ code }) => code)).toContain("memory");
  expect(warned.stderr).toMatch(
    /findings\.yml:9:16: warning: .*no memory limit for web, want .*; the VM gets .* \[memory\]/,
  );

  for (const [input, ...options] of [
    [text, "--strict"],
    [text.replace("spec:", "spec:\n  hostNetwork: true")],
  ] as const) {
    const refused = await generate(input, ...options);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("nothing is written") });
    expect(JSON.parse(refused.stdout)).toMatchObject({ result: "refused" });
    expect(readFileSync(path, "utf8")).toBe(input);
  }
});

test("nobody at the address is exit code 4", async () => {
  const { code, stderr } = await contrast("--insecure", "verify", ...COORDINATOR);
  expect(stderr).toMatch(/unreachable.*127\.85\.0\.1:1313/);
  expect(code).toBe(4);
});

test("a software TEE needs --insecure", async () => {
  const { code, stderr } = await contrast("verify", ...COORDINATOR);
  expect(stderr).toMatch(/insecure_not_allowed.*--insecure/);
  expect(code).toBe(3);
});

test("a workload that poses as the Coordinator is refused", async () => {
  const impostor = await startCoordinator("web", "impostor-state");
  const { code, stderr } = await contrast("--insecure", "set", ...COORDINATOR, deployment);
  expect(stderr).toContain("not_a_coordinator");
  expect(code).toBe(3);
  await stop(impostor);
});

test("from the first manifest to recovery", async () => {
  let coordinator = await startCoordinator();
  const verify = ["--insecure", "verify", ...COORDINATOR];
  const set = ["--insecure", "set", ...COORDINATOR];

  expect(await contrast(...verify)).toMatchObject({ code: 5, stderr: expect.stringContaining("no_manifest") });
  // Forgetting a file must not take a pod out of the deployment.
  expect(await contrast(...set, join(deployment, "web.yml"))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("policy_mismatch"),
  });
  const none = "0".repeat(64);
  expect(await contrast(...set, "--latest-transition", none, deployment)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("INSECURE"),
  });
  expect(existsSync(file("seed-shares.json"))).toBe(true);
  expect(await contrast(...set, "--latest-transition", none, deployment)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("conflict"),
  });

  const verified = await contrast("--output", "json", ...verify);
  expect(verified.code).toBe(0);
  expect(JSON.parse(verified.stdout)).toMatchObject({ result: "verified", generation: 1, evidence: { tee: "snp" } });
  const policies = readdirSync(file("verify")).filter((name) => name.endsWith(".rego"));
  expect(policies).toHaveLength(5);
  expect(readFileSync(file("verify/manifest.1.json"))).toEqual(readFileSync(file("manifest.json")));
  for (const name of readdirSync(file("verify")).filter((entry) => entry.endsWith(".toml"))) {
    expect(name).toContain(
      createHash("sha256")
        .update(readFileSync(file(`verify/${name}`)))
        .digest("hex"),
    );
  }

  // Somebody else's manifest is not the one in force, however similar.
  const edited = readFileSync(file("manifest.json"), "utf8").replace('"web",', '"web", "www",');
  writeFileSync(file("manifest.json"), edited);
  expect(await contrast(...verify)).toMatchObject({ code: 3, stderr: expect.stringContaining("manifest_mismatch") });

  const stranger = ["--workload-owner-key", file("seedshare-owner.pem")];
  expect((await contrast(...set, ...stranger, deployment)).code).not.toBe(0);
  expect(await contrast(...set, "--atomic", deployment)).toMatchObject({ code: 0 });
  expect(await contrast(...set, "--atomic", deployment)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("conflict"),
  });
  expect((await contrast(...verify)).stdout).toContain("generation: 2");

  const recover = ["--insecure", "recover", ...COORDINATOR];
  expect(await contrast(...recover)).toMatchObject({ code: 1, stderr: expect.stringContaining("not_in_recovery") });
  await stop(coordinator);
  coordinator = await startCoordinator();
  expect(await contrast(...verify)).toMatchObject({ code: 5, stderr: expect.stringContaining("needs_recovery") });
  const wrongKey = ["--seedshare-owner-key", file("workload-owner.pem")];
  expect(await contrast(...recover, ...wrongKey)).toMatchObject({
    code: 3,
    stderr: expect.stringContaining("no_seed_share"),
  });
  expect((await contrast(...recover)).code).toBe(0);
  expect(await contrast(...verify)).toMatchObject({ code: 0, stdout: expect.stringContaining("generation: 2") });
  await stop(coordinator);
}, 90_000);
