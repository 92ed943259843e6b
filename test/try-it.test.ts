import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { IMAGES } from "../images/catalog.ts";
import { VERSION } from "../runtime/version.ts";
import { parseWalkThrough, isAsExpected, runWalkThrough } from "./walk-through.ts";

/** Pages whose commands need a cluster or another tool: what they name is there, by that name. */

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "try-it-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: { readonly ports?: readonly { readonly name: string }[] };
}

const PAGES = ["try-it", "helm", "uninstall", "network-policy", "sizing"];
const read = (file: string): string => readFileSync(join(root, file), "utf8");
const shellOf = (text: string): string =>
  [...text.matchAll(/^ *```sh\n(.*?)^ *```$/gms)].map(([, block = ""]) => block).join("\n");
const page = read("docs/try-it.md");
const deployment = readdirSync(join(root, "demo/deployment"))
  .filter((name) => name.endsWith(".yml"))
  .flatMap((name) => parseAllDocuments(read(`demo/deployment/${name}`)))
  .map((document) => document.toJS() as Resource);

test("what try-it.md shows with $ does what stands there, and makes the files that the other lines apply", async () => {
  for (const name of readdirSync(root)) {
    if (name !== "workspace") symlinkSync(join(root, name), join(folder, name));
  }
  for (const outcome of await runWalkThrough(parseWalkThrough(page), folder, 60_000)) {
    const { step, output, exitCode } = outcome;
    expect(isAsExpected(outcome), `$ ${step.command}\n${output}`).toBe(true);
    expect(exitCode, `$ ${step.command}\n${output}`).toBe(0);
  }
  const applied = [...shellOf(page).matchAll(/-[fk] (\S+)/g)].map(([, path = ""]) => path);
  expect(applied).toContain("workspace/simulated-tee.json");
  expect(applied.filter((path) => !existsSync(join(folder, path)))).toEqual([]);
  const secrets = JSON.parse(readFileSync(join(folder, "workspace/simulated-tee.json"), "utf8")) as { items: object[] };
  expect(secrets.items).toHaveLength(5);
}, 90_000);

test("try-it.md loads every image of this version, and asks for services and ports that the demo has", () => {
  // What nodes and clusters have for themselves is no part of the demo.
  const own = IMAGES.map(({ name }) => name).filter((name) => !["node-installer", "collateral-proxy"].includes(name));
  const names = `contrast/{${own.join(",")}}:${VERSION}`;
  expect(page.split(names)).toHaveLength(4);
  const asked = [...page.matchAll(/-n (\S+) get service (\S+) .*name=="([a-z]+)"/g)];
  expect(asked).toHaveLength(2);
  for (const [, namespace, name, port] of asked) {
    const service = deployment.find(({ kind, metadata }) => kind === "Service" && metadata.name === name);
    expect(service).toMatchObject({ metadata: { namespace }, spec: { type: "LoadBalancer" } });
    expect(service?.spec.ports?.map((one) => one.name)).toContain(port);
  }
});

test.each(PAGES)("the commands of %s.md are ones that exist", (name) => {
  const shell = shellOf(read(`docs/${name}.md`));
  const { status, stderr } = spawnSync("bash", ["-n"], { input: shell, encoding: "utf8" });
  expect(status, stderr).toBe(0);

  // Options of contrast are those of its reference, which is compared with the program.
  const reference = read("docs/cli-reference.md");
  for (const [, command = "", line = ""] of shell.matchAll(/^contrast (\w+)([^\n]*)/gm)) {
    const [, section = ""] = reference.split(`\n## contrast ${command}\n`);
    expect(section, command).not.toBe("");
    const own = section.split("\n## ")[0] ?? "";
    for (const [, option = ""] of line.matchAll(/ (-{1,2}[a-z][a-z-]*)/g)) expect(own, line).toContain(option);
  }
  const npm = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  for (const [, script = ""] of shell.matchAll(/npm run (\S+)/g)) expect(npm.scripts).toHaveProperty(script);
  const missing = [...shell.matchAll(/(?<![\w/])((?:deploy|demo)\/[\w./-]+)/g)].filter(
    ([, path = ""]) => !existsSync(join(root, path)),
  );
  expect(missing.map(([path]) => path)).toEqual([]);
});

test("sizing.md has the overhead of every runtime class", () => {
  const rows = [...read("docs/sizing.md").matchAll(/^\| (`[^|]*) \| ([^|]*) \|$/gm)];
  const written = Object.fromEntries(
    rows.flatMap(([, names = "", overhead = ""]) =>
      [...names.matchAll(/`([a-z0-9-]+)`/g)].map(([, platform = ""]) => [platform, overhead.trim()]),
    ),
  );
  const classes = readdirSync(join(root, "deploy")).filter((name) => name.startsWith("runtime-"));
  const real = classes.map((file) => {
    const [runtimeClass] = parseAllDocuments(read(`deploy/${file}`));
    const { overhead } = (runtimeClass?.toJS() ?? {}) as { overhead?: { podFixed: { cpu?: string; memory: string } } };
    const { cpu, memory = "" } = overhead?.podFixed ?? {};
    const parts = [cpu && `${cpu} CPU`, memory.replace("2048Mi", "2Gi").replace("Gi", " GiB")].filter(Boolean);
    return [file.slice("runtime-".length, -".yml".length), parts.join(", ") || "none"];
  });
  expect(written).toEqual(Object.fromEntries(real));
});
