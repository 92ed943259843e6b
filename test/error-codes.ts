import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * For tests: every stable code that the sources of the programs can put before a message. The classes are found by their
 * text; what codes a class has, the TypeScript compiler says: it is asked to give each a code that there is not.
 */

const root = join(import.meta.dirname, "..");
/** Not of programs that users run, or not sources. */
const ELSEWHERE =
  /^(?:\.|bench|cluster|dist|docs|fuzz|node_modules|test)(?:\/|$)|\.test\.ts$|(?:^|\/)test-[\w-]+\.ts$|\.d\.ts$/;
const CLASS = /export class (\w+)(?:<[^{]*?>)? extends (?:CodedError|ResourceError)\b/g;
/** Types of codes that are not in an error. */
const TYPE = /export type (FindingCode)\b/g;
const LITERAL = /new CodedError\(\s*"(\w+)"/g;

export interface ErrorCode {
  readonly code: string;
  readonly file: string;
}

export function errorCodes(): ErrorCode[] {
  const codes: ErrorCode[] = [];
  const probes: string[] = [];
  const files: string[] = [];
  for (const file of sources()) {
    const text = readFileSync(join(root, file), "utf8");
    for (const [, code = ""] of text.matchAll(LITERAL)) codes.push({ code, file });
    const types = [
      ...Array.from(text.matchAll(CLASS), ([, name]) => `import("./sources/${file}").${name}["code"]`),
      ...Array.from(text.matchAll(TYPE), ([, name]) => `import("./sources/${file}").${name}`),
    ];
    for (const type of types) {
      files.push(file);
      // Behind a prefix they are shown one by one, and not by the name of their type.
      probes.push(`export const probe${files.length}: \`code \${${type}}\` = "";`);
    }
  }
  for (const [line, union] of complaints(probes.join("\n"))) {
    for (const [, code = ""] of union.matchAll(/"code ([a-z_]+)"/g)) codes.push({ code, file: files[line - 1] ?? "" });
  }
  return codes.toSorted((a, b) => a.file.localeCompare(b.file) || a.code.localeCompare(b.code));
}

function sources(): string[] {
  const folders = readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !ELSEWHERE.test(entry.name))
    .map(({ name }) => name);
  return folders
    .flatMap((name) =>
      readdirSync(join(root, name), { recursive: true, encoding: "utf8" }).map((path) => `${name}/${path}`),
    )
    .filter((path) => path.endsWith(".ts") && !ELSEWHERE.test(path))
    .toSorted();
}

/** By the line of the text: the type that `""` is not assignable to. */
function complaints(text: string): [number, string][] {
  const folder = mkdtempSync(join(tmpdir(), "contrast-codes-test-"));
  try {
    symlinkSync(root, join(folder, "sources"));
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    writeFileSync(join(folder, "probe.ts"), text);
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    const configuration = {
      extends: join(root, "tsconfig.json"),
      compilerOptions: { noEmit: true, rootDir: "/", noErrorTruncation: true },
      include: [],
      files: ["probe.ts"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(configuration));
    const tsc = join(root, "node_modules", ".bin", "tsc");
    const { stdout, stderr } = spawnSync(tsc, ["-p", folder, "--pretty", "false"], { cwd: folder, encoding: "utf8" });
    const lines = `${stdout}${stderr}`.split("\n");
    return lines.flatMap((line): [number, string][] => {
      const [, number, union = ""] =
        /probe\.ts\((\d+),\d+\): error TS2322: Type '""' is not assignable to type '(.*)'\.$/.exec(line) ?? [];
      return number === undefined ? [] : [[Number(number), union]];
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
