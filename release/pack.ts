import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { filterProblems, problemKindInfo } from "@arethetypeswrong/core/problems";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { run } from "../images/run.ts";
import { ReleaseError } from "./error.ts";
import { readManifest } from "./readiness.ts";

/** With provenance npm says from which commit and by which workflow the package was built. */
export const PUBLISH = { access: "public", provenance: true };

/** Those who import modules: Node itself, and bundlers. The package is of modules alone, as attw's `--profile esm-only` has it. */
const IMPORTERS = ["node16-esm", "bundler"] as const;

/**
 * Packs a package, and looks at the tarball as those do who install it: whether what `exports` and `bin` name is there
 * and of the right kind (publint), and whether TypeScript finds the types that belong to it (attw).
 *
 * @param directory with the package
 * @returns the name of the tarball
 * @throws ReleaseError faulty_package; ImageError
 */
export async function pack(directory: string, out: string): Promise<string> {
  await mkdir(out, { recursive: true });
  const packed = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", out], {
    cwd: directory,
  });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  const tarball = join(out, filename);
  const bytes = new Uint8Array(await readFile(tarball));
  const { exports } = await readManifest(directory);
  const faults = [...(await lint(bytes)), ...(exports === undefined ? [] : await checkTypes(bytes))];
  if (faults.length === 0) return filename;
  throw new ReleaseError("faulty_package", "publint or attw finds fault with the npm package", {
    where: tarball,
    got: faults.join("; "),
  });
}

async function lint({ buffer }: Uint8Array<ArrayBuffer>): Promise<string[]> {
  const { messages, pkg } = await publint({ pack: { tarball: buffer }, strict: true });
  return messages.map((message) => formatMessage(message, pkg, { color: false }) ?? message.code);
}

async function checkTypes(tarball: Uint8Array): Promise<string[]> {
  const result = await checkPackage(createPackageFromTarballData(tarball));
  if (result.types === false) return ["its exports have no types"];
  const problems = IMPORTERS.flatMap((resolutionKind) => filterProblems(result, { resolutionKind }));
  return [...new Set(problems)].map((problem) => {
    const where = "entrypoint" in problem ? `${problem.entrypoint}: ` : "";
    return `${where}${problemKindInfo[problem.kind].title}`;
  });
}
