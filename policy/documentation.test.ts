import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { encodeInitdata, policyHash } from "../manifest/initdata.ts";
import { INITDATA_ANNOTATION, toAnnotation } from "../manifest/initdata-annotation.ts";
import { policyOf } from "./policy.ts";
import { POLICY_RULES } from "./policy-rules.ts";
import { IGNORED } from "./test-ignored.ts";
import { IMAGES, testPod } from "./test-pods.ts";

const TEXT = await readFile(join(import.meta.dirname, "../docs/policies.md"), "utf8");
const COMMANDS = [...TEXT.matchAll(/```sh\n(.*?)```/gs)].map(([, commands = ""]) => commands);

test("the documented commands show the hash and the data of a policy", async () => {
  const { subject, spec } = testPod("image defaults");
  const rego = policyOf(subject, spec, IMAGES);
  const document = encodeInitdata(rego);
  const cwd = await mkdtemp(join(tmpdir(), "contrast-policies-"));
  onTestFinished(() => rm(cwd, { recursive: true }));
  const annotations = `  annotations:\n    ${INITDATA_ANNOTATION}: ${toAnnotation(document)}\n`;
  await writeFile(join(cwd, "pod.yml"), `kind: Pod\nmetadata:\n  name: a\n${annotations}`);
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", COMMANDS.join("")], { cwd });
  const [, hash, , data] = /^([0-9a-f]{64}) {2}(initdata.toml)\n(.*)$/s.exec(stdout) ?? [];
  expect(hash).toBe(policyHash(document));
  expect(data).toBe(`${rego.slice(rego.indexOf("policy_data :="))}'''\n`);
});

test("every request that the rules name is documented, and none besides", () => {
  const [, table = ""] = /^## What the host may ask for$(.*?)^## /ms.exec(TEXT) ?? [];
  const documented = [...table.matchAll(/^\| (`.*?`) +\|/gm)].flatMap(([, names = ""]) => names.match(/\w+/g) ?? []);
  const named = [...POLICY_RULES.matchAll(/^default (\w+) := /gm)].map(([, name = ""]) => name);
  expect(documented.toSorted()).toEqual(named.toSorted());
});

test("what policies pass over is documented, and nothing besides", () => {
  const [, table = ""] = /^## What is not checked$(.*?)^Beside that/ms.exec(TEXT) ?? [];
  const documented = [...table.matchAll(/^\| (.*?) +\|/gm)].map(([, what]) => what).slice(2);
  expect(documented).toEqual([...IGNORED.keys()]);
});

test("every field of an entry is documented", () => {
  const [, table = ""] = /^## What an entry pins$(.*?)^### /ms.exec(TEXT) ?? [];
  const { subject, spec } = testPod("volumes of all kinds");
  const rego = policyOf(subject, spec, IMAGES);
  const data = JSON.parse(rego.slice(rego.indexOf("policy_data := ") + "policy_data := ".length)) as {
    containers: readonly Readonly<Record<string, unknown>>[];
  };
  const fields = Object.keys(data.containers[1] ?? {});
  expect(fields.length).toBeGreaterThan(20);
  expect(
    fields.filter((field) => !["type", "name", "image"].includes(field) && !table.includes(`\`${field}\``)),
  ).toEqual([]);
});
