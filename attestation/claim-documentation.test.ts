import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SNP_CLAIM_EXTENSIONS } from "./snp/claims.ts";
import { TDX_CLAIM_EXTENSIONS } from "./tdx/claims.ts";

/** docs/claims.md has every claim, under the number that it keeps for good. */

const text = readFileSync(join(import.meta.dirname, "../docs/claims.md"), "utf8");
const rows = Array.from(text.matchAll(/^\| `1\.3\.9901\.2\.[12]\.\d+` +\|.*$/gm), ([line]) =>
  line
    .split("|")
    .map((cell) => cell.trim())
    .slice(1, -1),
);

test("the table has the claims of the code, and no others", () => {
  const kinds = [
    ["SNP", SNP_CLAIM_EXTENSIONS],
    ["TDX", TDX_CLAIM_EXTENSIONS],
  ] as const;
  const wanted = kinds.flatMap(([tee, { arc, forms }]) =>
    Object.entries(forms).map(([name, { type, proof }], index) => [
      `\`${arc}.${index + 1}\``,
      `\`${name}\``,
      tee,
      type,
      proof,
    ]),
  );
  expect(rows.map((row) => row.slice(0, 5))).toEqual(wanted);
});

test("each has a meaning, and a source that is listed", () => {
  const sources = Array.from(text.matchAll(/^\| ([A-Z][\w ]*?) +\| (?:AMD|Intel), /gm), ([, name]) => name);
  expect(sources.length).toBeGreaterThan(4);
  for (const [id, , , , , meaning, source = ""] of rows) {
    expect([id, meaning]).toEqual([id, expect.stringMatching(/\w{2}/)]);
    const isKnown =
      source === "this project" ||
      sources.some((name) => source === name || source.startsWith(`${name} `) || source.startsWith(`${name},`));
    expect([id, source, isKnown]).toEqual([id, source, true]);
  }
});

test("the keys of the manifest that it names are there", () => {
  const manifest = readFileSync(join(import.meta.dirname, "../docs/manifest.md"), "utf8");
  const keys = rows.flatMap(([, , , , , meaning = ""]) =>
    Array.from(meaning.matchAll(/compared with `([A-Z]\w*)`/g), ([, key = ""]) => key),
  );
  expect(keys.length).toBeGreaterThan(25);
  expect(keys.filter((key) => !manifest.includes(`\`${key}\``))).toEqual([]);
});
