import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ManifestError } from "../manifest/error.ts";
import { parseManifest } from "../manifest/manifest.ts";

/** docs/manifest.md: its examples are valid, and it names every key that there is. */

const text = readFileSync(join(import.meta.dirname, "../docs/manifest.md"), "utf8");
const [whole, signed] = Array.from(text.matchAll(/```json\n(.*?)```/gs), ([, json = ""]) => JSON.parse(json) as Json);
interface Json {
  [key: string]: Json;
}

function parse(document: unknown): ReturnType<typeof parseManifest> {
  return parseManifest(Buffer.from(JSON.stringify(document)));
}

function withSets(sets: object): Json {
  return { ...whole, ReferenceValues: { ...whole?.["ReferenceValues"], ...sets } };
}

test("the examples are valid", () => {
  expect(parse(whole).referenceValues).toMatchObject({ snp: [{ image: { kind: "measured" } }], tdx: [{}] });
  expect(parse(withSets({ snp: [signed] })).referenceValues.snp).toMatchObject([{ image: { kind: "signed" } }]);
});

test.each([
  ["the manifest", ""],
  ["a policy", "Policies.*"],
  ["the reference values", "ReferenceValues"],
  ["a set of snp", "ReferenceValues.snp.0"],
  ["MinimumTCB", "ReferenceValues.snp.0.MinimumTCB"],
  ["GuestPolicy", "ReferenceValues.snp.0.GuestPolicy"],
  ["PlatformInfo", "ReferenceValues.snp.0.PlatformInfo"],
  ["a set of tdx", "ReferenceValues.tdx.0"],
  ["a set of insecure", "ReferenceValues.insecure.0"],
])("every key of %s is explained", (_, path) => {
  const document = structuredClone(withSets({ insecure: [{}] }));
  const keys = path === "" ? [] : path.split(".");
  const place = keys.reduce((inner, key) => inner[key === "*" ? (Object.keys(inner)[0] ?? "") : key] ?? {}, document);
  place["Unknown"] = {};
  const known = knownKeys(document);
  expect(known.length).toBeGreaterThan(1);
  for (const key of known) expect(text).toContain(`\`${key}\``);
});

/** The parser names them where it refuses one that it does not know. */
function knownKeys(document: Json): string[] {
  try {
    parse(document);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const fault = error.faults.find(({ where }) => where.endsWith(".Unknown"));
    return fault?.want.replace(/^only /, "").split(", ") ?? [];
  }
  return [];
}
