import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { reading } from "./read-text.ts";

/**
 * What paths stand for, as `kubectl apply -R -f` has it: files as they are given, and every *.yaml, *.yml and *.json in
 * folders and their folders, hidden ones too, in the order of their names. In a folder links to files are followed and
 * those to folders are not, so that none is without end. Each file once, under its first name. A Helm chart within a
 * folder is left out: its templates are no resources, and what is made of them is given by itself.
 *
 * @param except a file that is left out
 * @throws GenerateError unreadable_file
 */
export async function listFiles(paths: readonly string[], except?: string): Promise<string[]> {
  const files = new Map<string, string>();
  const left = except === undefined ? undefined : await realpath(except).catch(() => undefined);
  for (const path of paths) {
    for (const file of await reading(path, () => list(path))) {
      const real = await reading(file, () => realpath(file));
      if (real !== left && !files.has(real)) files.set(real, file);
    }
  }
  return [...files.values()];
}

async function list(path: string): Promise<string[]> {
  return (await stat(path)).isDirectory() ? (await listFolder(path)).toSorted() : [path];
}

/** By hand: a recursive readdir follows links, and two loops make it visit 2^40 folders. */
async function listFolder(path: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const file = join(path, entry.name);
    if (entry.isDirectory()) found.push(...((await isChart(file)) ? [] : await listFolder(file)));
    else if (/\.(?:ya?ml|json)$/.test(entry.name) && !(entry.isSymbolicLink() && (await isFolder(file))))
      found.push(file);
  }
  return found;
}

async function isChart(folder: string): Promise<boolean> {
  return stat(join(folder, "Chart.yaml")).then(
    (status) => status.isFile(),
    () => false,
  );
}

/** A link that leads nowhere is none: reading it says so. */
async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (status) => status.isDirectory(),
    () => false,
  );
}
