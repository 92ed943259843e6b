import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { expect, test } from "vitest";

/**
 * What decides about trust runs in browsers, too. So it may import nothing of Node's, and nothing that does; crypto/node.ts
 * alone is replaced there.
 */

const root = join(import.meta.dirname, "..");

/** Where what runs in browsers begins. */
const ENTRIES = ["attestation/verify.ts", "manifest/appraise.ts", "verifier/verifier.ts", "report/page.ts"];

/** Of the packages, those that are made for browsers, too. */
const PACKAGES = /^(?:zod|smol-toml)(?:\/|$)/;

/** What a browser has not. */
const GLOBALS = /\bBuffer\b|\bprocess\.[a-z]|\bsetImmediate\b|\brequire\(|\b__dirname\b|\bimport\.meta\.dirname\b/;

interface Source {
  readonly file: string;
  /** Specifiers of what is there when it runs; imports of types alone are not. */
  readonly imports: readonly string[];
  readonly code: string;
}

function read(file: string): Source {
  const text = readFileSync(join(root, file), "utf8");
  const imports = [...text.matchAll(/^(?:import|export)\s(?!type\b)(?:[^;"]*?from\s*)?"([^"]+)";/gm)];
  const dynamic = [...text.matchAll(/\bimport\(\s*"([^"]+)"/g)];
  // Comments speak of what they like.
  const code = text.replaceAll(/\/\*[^]*?\*\/|(?<!:)\/\/.*$/gm, "");
  return { file, imports: [...imports, ...dynamic].map((match) => match[1] ?? ""), code };
}

function reached(entries: readonly string[]): Source[] {
  const sources = new Map<string, Source>();
  const waiting = [...entries];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (sources.has(file) || file === "crypto/node.ts") continue;
    const source = read(file);
    sources.set(file, source);
    for (const target of source.imports) {
      if (target.startsWith(".")) waiting.push(relative(root, join(root, file, "..", target)));
    }
  }
  return [...sources.values()];
}

/** What stands in the place of crypto/node.ts. */
const WEB = "crypto/web.ts";

test.each(ENTRIES)("%s reaches nothing that a browser has not", (entry) => {
  const sources = reached([entry, WEB]);
  // It does follow the imports, to the bottom.
  expect(sources.map(({ file }) => file)).toContain("bytes/cursor.ts");
  const wrong = sources.flatMap(({ file, imports, code }) => [
    ...imports
      .filter((target) => !target.startsWith(".") && !PACKAGES.test(target))
      .map((target) => `${file}: ${target}`),
    ...(GLOBALS.exec(code) ?? []).map((name) => `${file}: ${name}`),
  ]);
  expect(wrong).toEqual([]);
});
