import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse } from "smol-toml";
import { type Crate, readCrates } from "./crates.ts";
import { copyLicenses } from "./licenses.ts";

/** The crates of the engine, as cargo knows them. */

const engine = join(import.meta.dirname, "../../mesh-proxy/engine");
const NO_CARGO = spawnSync("cargo", ["--version"]).status === 0 ? "" : " (skipped: there is no cargo)";

const deny = parse(readFileSync(join(engine, "deny.toml"), "utf8")) as unknown as {
  graph: { targets: string[] };
  licenses: { allow: string[] };
};

/** Of an expression, its alternatives: each a list of licences that hold together. */
function alternatives(expression: string): string[][] {
  const terms = expression.split(" AND ").map((term) => term.replaceAll(/[()]/g, "").split(" OR "));
  return terms.reduce<string[][]>((all, term) => all.flatMap((one) => term.map((it) => [...one, it])), [[]]);
}

test("the crates come from crates.io alone, each with its checksum", () => {
  const lock = parse(readFileSync(join(engine, "Cargo.lock"), "utf8")) as unknown as {
    package: { name: string; source?: string; checksum?: string }[];
  };
  const others = lock.package.filter(({ name }) => !name.startsWith("engine-"));
  expect(others.length).toBeGreaterThan(50);
  for (const { name, source, checksum } of others) {
    expect(source, name).toBe("registry+https://github.com/rust-lang/crates.io-index");
    expect(checksum, name).toMatch(/^[0-9a-f]{64}$/);
  }
});

describe.skipIf(NO_CARGO !== "")(`what is linked${NO_CARGO}`, { timeout: 120_000 }, () => {
  test.each(deny.graph.targets)("for %s has licences of the list, and nothing of tests and macros", async (triple) => {
    const crates = await readCrates(engine, triple);
    const names = crates.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["aws-lc-sys", "engine-core", "engine-kernel", "napi", "rustls"]));
    for (const name of ["cc", "napi-build", "napi-derive", "rcgen", "ring", "syn", "windows-sys"]) {
      expect(names).not.toContain(name);
    }
    const isAllowed = (license: string): boolean => deny.licenses.allow.includes(license);
    const refused = crates.filter(({ license }) => !alternatives(license).some((all) => all.every(isAllowed)));
    expect(refused.map(({ name, license }) => `${name}: ${license}`)).toEqual([]);
  });

  test("has one version of each crate, and the text of each licence", async () => {
    const crates = await readCrates(engine, deny.graph.targets[0] ?? "");
    const foreign = crates.filter(({ checksum }) => checksum !== undefined);
    expect(new Set(crates.map(({ name }) => name)).size).toBe(crates.length);
    expect(crates.length - foreign.length).toBe(3);
    const folder = mkdtempSync(join(tmpdir(), "contrast-licenses-test-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    await copyLicenses(crates, folder);
    expect(readdirSync(folder).toSorted()).toEqual(foreign.map(({ name, version }) => `${name}-${version}`).toSorted());
    for (const name of readdirSync(folder)) {
      const texts = readdirSync(join(folder, name)).map((file) => readFileSync(join(folder, name, file), "utf8"));
      expect(texts.join("\n"), name).toMatch(/permission|license|public domain/i);
    }
    const awsLc = readdirSync(folder).find((name) => name.startsWith("aws-lc-sys-")) ?? "";
    expect(readdirSync(join(folder, awsLc))).toContain("aws-lc-third_party-fiat-LICENSE");
  });
});

test("a crate without a text is refused, unless its licence's text is known", async () => {
  const folder = mkdtempSync(join(tmpdir(), "contrast-licenses-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const crate: Crate = { name: "a", version: "1.0.0", license: "ISC", authors: ["B"], checksum: "00", folder };
  await expect(copyLicenses([crate], join(folder, "out"))).rejects.toThrow("a 1.0.0 has no licence text");
  await copyLicenses([{ ...crate, license: "MIT" }], join(folder, "out"));
  expect(readFileSync(join(folder, "out/a-1.0.0/LICENSE"), "utf8")).toContain("Copyright (c) B\n");
});
