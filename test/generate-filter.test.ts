import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseResourceFile } from "../kubernetes/resource-file.ts";
import type { Loose } from "../kubernetes/test-files.ts";
import { HELM, NO_HELM } from "./helm-program.ts";
import { startTerminal } from "./terminal.ts";

/** `contrast generate -` as kustomize and Helm run it: resources from standard input, and to standard output. */

const root = join(import.meta.dirname, "..");
const DIGEST = `sha256:${"1".repeat(64)}`;

const NO_KUBECTL = spawnSync("kubectl", ["version", "--client"]).status === 0 ? "" : ": there is no kubectl";

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "generate-filter-"));
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function contrast(workspace: string, input: string | Buffer, ...args: string[]): Promise<Outcome> {
  const words = [join(root, "cli/main.ts"), "--workspace-dir", join(directory, workspace), ...args];
  const child = spawn(process.execPath, words, { cwd: directory });
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // It may have refused its options before it reads.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
}

const generate = (workspace: string, input: string | Buffer, ...args: string[]): Promise<Outcome> =>
  contrast(workspace, input, "generate", "--offline", "--reference-values", "metal-qemu-snp", ...args);

function file(name: string, text: string): void {
  mkdirSync(dirname(join(directory, name)), { recursive: true });
  writeFileSync(join(directory, name), text);
}

function manifest(workspace: string): Loose {
  return JSON.parse(readFileSync(join(directory, workspace, "manifest.json"), "utf8"));
}

const web = (image = `web:1@${DIGEST}`): string => `# The web server.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # its name
spec:
  template:
    spec:
      runtimeClassName: contrast-cc
      containers:
      - name: web
        image: ${image}
        command: [web]
`;
const CONFIG = `apiVersion: v1
kind: ConfigMap
metadata: {name:   config}
data:
  "a": 'text
in quotes'
`;
const COORDINATOR = web(`contrast/coordinator:0.1.0@${DIGEST}`)
  .replace("kind: Deployment", "kind: StatefulSet")
  .replace("name: web   # its name", "name: coordinator")
  .replace(
    "template:\n",
    "template:\n    metadata: {annotations: {contrast.edgeless.systems/pod-role: coordinator}}\n",
  );

test("writes what it read, prepared, to standard output, and all else to standard error", async () => {
  const { code, stdout, stderr } = await generate("plain", `${CONFIG}---\n${web()}---\n${CONFIG}`, "-");
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stdout.startsWith(`${CONFIG}---\n# The web server.\n`)).toBe(true);
  expect(stdout.endsWith(`---\n${CONFIG}`)).toBe(true);
  expect(stdout).toContain("name: web   # its name\n");
  expect(stdout).toContain("contrast-initializer");
  expect(stderr).toContain("result: generated\n");
  expect(stderr).toMatch(/stdin:9:1: warning: .*\[coordinator\]/);
  expect(Object.values(manifest("plain").Policies)).toMatchObject([{ SANs: ["web", "*"] }]);
  expect(existsSync(join(directory, "stdin"))).toBe(false);

  // The same input gives the same output; the output gives itself.
  expect((await generate("plain", `${CONFIG}---\n${web()}---\n${CONFIG}`, "-")).stdout).toBe(stdout);
  expect((await generate("plain", stdout, "-")).stdout).toBe(stdout);
});

test("prepares files beside it in place, and knows a pod again by its name", async () => {
  file("beside/coordinator.yml", COORDINATOR);
  const path = join(directory, "beside/coordinator.yml");
  const first = await generate("beside/workspace", web(), path, "-");
  expect(first).toMatchObject({ code: 0, stderr: expect.not.stringContaining("[coordinator]") as string });
  expect(readFileSync(path, "utf8")).toContain("cc_init_data");
  expect(first.stdout).not.toContain("kind: StatefulSet");
  const before = manifest("beside/workspace");
  const hash = Object.keys(before.Policies).find((key) => before.Policies[key].Role === undefined) ?? "";
  before.Policies[hash].SANs = ["mine"];
  file("beside/workspace/manifest.json", JSON.stringify(before));
  expect((await generate("beside/workspace", web(`web:2@${DIGEST}`), path, "-")).code).toBe(0);
  const after = manifest("beside/workspace");
  expect(Object.keys(after.Policies)).toHaveLength(2);
  expect(after.Policies).not.toHaveProperty(hash);
  expect(Object.values(after.Policies)).toContainEqual(expect.objectContaining({ SANs: ["mine"] }));
});

test("with --output json the result is on standard error; with -o the resources are in the file", async () => {
  const json = await contrast(
    "json",
    web(),
    "--output",
    "json",
    "generate",
    "--offline",
    "--reference-values",
    "metal-qemu-snp",
    "-",
  );
  expect(json.code).toBe(0);
  expect(parseResourceFile("", json.stdout).values).toMatchObject([{ kind: "Deployment" }]);
  expect(JSON.parse(json.stderr.slice(json.stderr.indexOf("{\n")))).toMatchObject({ result: "generated" });

  const out = join(directory, "json/out.yml");
  const { code, stdout } = await generate("json", web(), "-", "-o", out);
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining("result: generated") as string });
  expect(readFileSync(out, "utf8")).toContain("cc_init_data");
});

test.for([
  ["a template", "kind: {{ .Values.kind }}\n", "stdin:1:8"],
  ["a text in quotes without end", `${CONFIG}---\na: "b\n`, "stdin:8:4"],
  ["nothing", "", "got nothing, want Kubernetes resources"],
  ["white space alone", " \n\n", "got nothing, want Kubernetes resources"],
  ["resources without such pods", CONFIG, "no_workloads"],
  ["a workload whose key stands twice", web().replace("spec:\n  template", "spec: {}\nspec:\n  template"), "stdin:7:1"],
  ["host network", web().replace("      containers", "      hostNetwork: true\n      containers"), "[host_access]"],
  ["bytes that are no text", Buffer.from([0x61, 0x3a, 0x20, 0xff]), "stdin:1:4"],
])("refuses %s, with nothing on standard output and no file written", async ([, input = "", place = ""]) => {
  for (const options of [[], ["--output", "json"]]) {
    const args = [...options, "generate", "--offline", "--reference-values", "metal-qemu-snp", "-"];
    const { code, stdout, stderr } = await contrast("refused", input, ...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(place);
    expect(stderr).not.toMatch(/^\s+at .*:\d+/m);
    expect(existsSync(join(directory, "refused/manifest.json"))).toBe(false);
  }
});

test("-o - writes all resources to standard output, and leaves the files as they are", async () => {
  file("printed/app/web.yml", web());
  file("printed/app/config.yml", CONFIG);
  const { code, stdout, stderr } = await generate("printed", "", "-o", "-", join(directory, "printed/app"));
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining("result: generated") as string });
  expect(parseResourceFile("", stdout).values).toMatchObject([{ kind: "ConfigMap" }, { kind: "Deployment" }]);
  expect(stdout).toContain("cc_init_data");
  expect(readFileSync(join(directory, "printed/app/web.yml"), "utf8")).toBe(web());
  expect(existsSync(join(directory, "-"))).toBe(false);
  // What came through the pipe, and a folder beside it.
  const both = await generate(
    "printed",
    CONFIG.replace("config", "other"),
    "--out",
    "-",
    join(directory, "printed/app"),
    "-",
  );
  expect(parseResourceFile("", both.stdout).values).toHaveLength(3);
  expect(readFileSync(join(directory, "printed/app/web.yml"), "utf8")).toBe(web());
});

test("standard input can be named once, and be no terminal", async () => {
  const twice = await generate("twice", web(), "-", "-");
  expect(twice).toMatchObject({ code: 2, stdout: "" });
  expect(twice.stderr).toContain("standard input can be read once (got - 2 times, want - once)");
  const words = [process.execPath, join(root, "cli/main.ts"), "generate", "--reference-values", "simulated", "-"];
  const terminal = startTerminal(words.join(" "), {}, directory);
  expect(await terminal.exited).toBe(2);
  expect(terminal.output()).toContain("standard input is a terminal");
  expect(existsSync(join(directory, "manifest.json"))).toBe(false);
});

test("a stream without end is refused at its limit", async () => {
  const words = [join(root, "cli/main.ts"), "generate", "--offline", "--reference-values", "metal-qemu-snp", "-"];
  const child = spawn(process.execPath, words, { cwd: directory, stdio: ["pipe", "ignore", "pipe"] });
  const said: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
  const closed = once(child, "close") as Promise<[number | null]>;
  child.stdin.on("error", () => undefined);
  const chunk = Buffer.alloc(1024 * 1024, "#");
  let sent = 0;
  while (child.exitCode === null && sent < 256) {
    sent++;
    if (!child.stdin.write(chunk)) await Promise.race([once(child.stdin, "drain").catch(() => undefined), closed]);
  }
  expect((await closed)[0]).toBe(2);
  expect(sent).toBeLessThan(256);
  expect(Buffer.concat(said).toString()).toContain("unreadable_file: a path can't be read (at stdin, got more");
});

test("platforms are known in either case", async () => {
  const { code, stderr } = await contrast(
    "case",
    web(),
    "generate",
    "--offline",
    "--reference-values",
    "Metal-QEMU-SNP",
    "-",
  );
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stderr).toMatch(/runtime class: contrast-cc-metal-qemu-snp-[0-9a-f]{8}\n/);
  const unknown = await contrast("case", web(), "generate", "--reference-values", "metal-qemu-sgx", "-");
  expect(unknown).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("Allowed choices are aks-clh-snp") as string,
  });
});

test("takes a large text through pipes whole", async () => {
  const many = Array.from({ length: 20_000 }, (_, index) => CONFIG.replace("config", `config-${index}`)).join("---\n");
  const { code, stdout } = await generate("large", `${many}---\n${web()}`, "-");
  expect(code).toBe(0);
  expect(stdout.startsWith(many)).toBe(true);
  expect(stdout).toContain("cc_init_data");
});

test.skipIf(NO_KUBECTL !== "")(`takes what kubectl kustomize makes${NO_KUBECTL}`, async () => {
  file("base/web.yml", web("web:1"));
  file("base/config.yml", CONFIG);
  file("base/kustomization.yml", "resources: [web.yml, config.yml]\n");
  file(
    "overlay/kustomization.yml",
    `namespace: shop\nnamePrefix: prod-\nresources: [../base]\nimages: [{name: web, digest: "${DIGEST}"}]\n`,
  );
  const built = spawnSync("kubectl", ["kustomize", join(directory, "overlay")]);
  expect(built.stderr.toString()).toBe("");
  const { code, stdout, stderr } = await generate("kustomize", built.stdout, "-");
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(Object.values(manifest("kustomize").Policies)).toMatchObject([
    { WorkloadSecretID: "apps/v1/Deployment/shop/prod-web" },
  ]);
  // What comes out goes into kustomize again, which reads YAML by other rules.
  file("again/all.yml", stdout);
  file("again/kustomization.yml", "resources: [all.yml]\n");
  const again = spawnSync("kubectl", ["kustomize", join(directory, "again")]);
  expect(again.stderr.toString()).toBe("");
  const values = (text: string): Loose[] => parseResourceFile("", text).values as Loose[];
  const byKind = (a: Loose, b: Loose): number => (a.kind < b.kind ? -1 : 1);
  expect(values(again.stdout.toString()).toSorted(byKind)).toEqual(values(stdout).toSorted(byKind));
});

test.skipIf(NO_HELM !== "")(`is a post-renderer of Helm${NO_HELM}`, () => {
  file("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
  file("chart/values.yaml", `image: web:1@${DIGEST}\n`);
  file("chart/templates/web.yaml", web("{{ .Values.image }}").replace("name: web ", "name: {{ .Release.Name }}-web "));
  file("chart/templates/config.yaml", CONFIG);
  const render = (...args: string[]): { status: number | null; stdout: Buffer; stderr: Buffer } => {
    const program = [join(root, "cli/main.ts"), "--workspace-dir", join(directory, "helm")];
    const command = [...program, "generate", "--offline", "--reference-values", "metal-qemu-snp", ...args, "-"];
    const words = command.flatMap((word) => ["--post-renderer-args", word]);
    const home = { HELM_CACHE_HOME: directory, HELM_CONFIG_HOME: directory, HELM_DATA_HOME: directory };
    return spawnSync(
      HELM,
      ["template", "blue", join(directory, "chart"), "--post-renderer", process.execPath, ...words],
      { cwd: directory, env: { PATH: process.env["PATH"], ...home } },
    );
  };
  const { status, stdout, stderr } = render();
  expect({ status, stderr: stderr.toString() }).toMatchObject({ status: 0 });
  const values = parseResourceFile("", stdout.toString()).values.filter((value) => value !== null) as Loose[];
  expect(values.map(({ kind }) => kind)).toEqual(["ConfigMap", "Deployment"]);
  expect(values[1].spec.template.spec.initContainers[0].name).toBe("contrast-initializer");
  expect(Object.values(manifest("helm").Policies)).toMatchObject([{ SANs: ["blue-web", "*"] }]);

  const refused = render("--strict");
  expect(refused.status).not.toBe(0);
  expect(refused.stdout.toString()).not.toContain("kind: Deployment");
  expect(refused.stderr.toString()).toContain("[coordinator]");
});
