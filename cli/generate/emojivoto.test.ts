import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { podSpecs, workspace } from "./test-workspace.ts";

const VECTORS = join(import.meta.dirname, "../../../shared/vectors/k8s-emojivoto");
const emojivoto = existsSync(VECTORS) ? test : test.skip;
const reason = existsSync(VECTORS) ? "" : ": there is no folder ../shared/vectors beside the checkout";

/** The recorded files, their pods asking for a confidential VM. */
async function files(): Promise<Record<string, string>> {
  const names = await readdir(VECTORS);
  const texts = await Promise.all(names.map((name) => readFile(join(VECTORS, name), "utf8")));
  const classed = texts.map((text) => text.replace(/^( *)containers:$/m, "$1runtimeClassName: contrast-cc\n$&"));
  return Object.fromEntries(names.map((name, index) => [name, classed[index] ?? ""]));
}

emojivoto(`recorded emojivoto: generate makes real files ready, and adds lines only${reason}`, async () => {
  const before = await files();
  const { run, read, dir } = await workspace(before);
  const { policies, changedFiles } = await run();
  expect(policies.map(({ name, kind, namespace }) => `${namespace} ${kind} ${name}`)).toEqual(
    ["emoji", "vote-bot", "voting", "web"].map((name) => `emojivoto Deployment ${name}`),
  );
  expect(changedFiles).toEqual(
    ["app/emoji.yml", "app/vote-bot.yml", "app/voting.yml", "app/web.yml", "manifest.json"].map((name) =>
      join(dir, name),
    ),
  );
  for (const [name, text] of Object.entries(before)) {
    const after = (await read(`app/${name}`)).split("\n");
    let at = -1;
    for (const line of text.split("\n").filter((line) => !line.includes("runtimeClassName"))) {
      at = after.indexOf(line, at + 1);
      expect(at, `${name}: ${line}`).toBeGreaterThanOrEqual(0);
    }
  }
  expect((await run()).changedFiles).toEqual([]);
  expect((await collectPolicies([join(dir, "app")])).map(({ hash }) => hash)).toEqual(policies.map(({ hash }) => hash));
});

emojivoto(
  `recorded emojivoto: generate gives every real pod the Initializer and leaves the rest of it as it was${reason}`,
  async () => {
    const before = await files();
    const { run, read } = await workspace(before);
    await run();
    for (const [name, text] of Object.entries(before).filter(([, text]) => text.includes("contrast-cc"))) {
      const after = await read(`app/${name}`);
      expect(parseAllDocuments(after)).toHaveLength(parseAllDocuments(text).length);
      for (const [workload, spec] of Object.entries<{ containers: object[] }>(podSpecs(text))) {
        const { initContainers, containers, ...others } = podSpecs(after)[workload];
        expect(initContainers).toMatchObject([{ name: "contrast-initializer" }]);
        expect(containers).toMatchObject(spec.containers);
        expect({ ...spec, ...others, containers: spec.containers }).toEqual({ ...others, containers: spec.containers });
      }
    }
  },
);
