import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Architecture } from "../../images/architecture.ts";
import { describePackages, NATIVE, packageFolders } from "../../images/bundle.ts";
import { NODE_VERSION, nodePackage } from "../../images/node-release.ts";
import { lockedPackage, packageCache, unpackPackage } from "../../images/npm-package.ts";
import type { RunOptions } from "../../images/run.ts";
import { type Bill, billOf, nodeEntry, npmEntry } from "../../images/sbom.ts";
import { VERSION } from "../../runtime/version.ts";
import { assemble } from "./assemble.ts";
import { bundleCli } from "./bundle.ts";
import { type LicensedPart, licenseTexts } from "./licenses.ts";

export interface ExecutableOptions extends RunOptions {
  /** The checkout, with node_modules/. */
  readonly root: string;
  /** What was compiled, with the time of the build. */
  readonly dist: string;
  /** A folder for what is only needed meanwhile, not there yet: some 500 MB for each architecture. */
  readonly work: string;
  readonly out: string;
  readonly architectures: readonly Architecture[];
}

/** The name of the file for an architecture: the same in every version, so that one address has the latest. */
export function executableName({ oci }: Pick<Architecture, "oci">): string {
  return `contrast-linux-${oci}`;
}

/**
 * Writes the command line as one file for each architecture, each with its bill of materials, and the licences of what is in
 * them.
 *
 *     contrast-linux-<arch>             runs on Linux with glibc, without Node
 *     contrast-linux-<arch>.cdx.json
 *     contrast-linux-LICENSES.txt
 *
 * @returns the names of the executables
 * @throws ReleaseError `unfit_bundle`; ImageError
 */
export async function buildExecutables(options: ExecutableOptions): Promise<string[]> {
  const { root, dist, work, out, architectures } = options;
  await mkdir(work, { recursive: true });
  await mkdir(out, { recursive: true });
  const sources = join(work, "bundle");
  const { file, modules } = await bundleCli(root, dist, sources);
  const packages = await partsOf(sources, modules);
  for (const architecture of architectures) {
    const name = executableName(architecture);
    const folder = join(work, architecture.oci);
    const native = await lockedPackage(root, `@koromix/koffi-linux-${architecture.npm}`);
    const unpack = async (what: typeof native, as: string): Promise<string> =>
      unpackPackage(what, packageCache(root), join(folder, as), options);
    const node = await unpack(nodePackage(architecture.npm), "node");
    const koffi = await unpack(native, "koffi");
    const parts = {
      main: file,
      node: join(node, "bin/node"),
      native: join(koffi, `linux_${architecture.npm}`, "koffi.node"),
      page: join(dist, "verifier", "index.html"),
    };
    await assemble(parts, architecture, join(folder, "executable"), join(out, name), options);
    const entries = [nodeEntry(), ...[...packages, ...(await describePackages([koffi]))].map(npmEntry)];
    await writeFile(join(out, `${name}.cdx.json`), json(await billOfExecutable(out, architecture, entries)));
    const licensed = { name: "Node.js", version: NODE_VERSION, license: "MIT", folder: node, modules: [] };
    const own = { name: "Contrast", version: VERSION, license: "Apache-2.0", folder: root, modules: [] };
    await writeFile(join(out, "contrast-linux-LICENSES.txt"), await licenseTexts([own, licensed, ...packages]));
  }
  return architectures.map(executableName);
}

/** koffi's own JavaScript is not in it; its native code comes from the same sources. */
async function partsOf(sources: string, modules: readonly string[]): Promise<LicensedPart[]> {
  const folders = packageFolders(modules).map((folder) => join(sources, folder));
  folders.push(join(sources, "node_modules", NATIVE));
  const described = await describePackages(folders);
  return described.map((part) => {
    const folder = join(sources, "node_modules", part.name);
    const own = modules.map((module) => join(sources, module)).filter((module) => module.startsWith(`${folder}/`));
    return { ...part, folder, modules: own };
  });
}

async function billOfExecutable(
  out: string,
  architecture: Architecture,
  entries: Parameters<typeof billOf>[1],
): Promise<Bill> {
  const name = executableName(architecture);
  return billOf(
    {
      type: "application",
      "bom-ref": name,
      name,
      version: VERSION,
      description: "Contrast's command line in one file",
      licenses: [{ license: { id: "Apache-2.0" } }],
      hashes: [{ alg: "SHA-256", content: sha256Hex(await readFile(join(out, name))) }],
      properties: [{ name: "architecture", value: architecture.oci }],
    },
    entries,
  );
}

function json(bill: Bill): string {
  return `${JSON.stringify(bill, undefined, 2)}\n`;
}
