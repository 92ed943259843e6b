import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../images/run.ts";
import { describeError } from "../runtime/errors.ts";
import { VERSION } from "../runtime/version.ts";
import { sectionOf } from "./changelog.ts";

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly repository?: unknown;
  readonly [key: string]: unknown;
}

export async function readManifest(root: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Manifest;
}

/** Why this checkout can't be released as it is, one line each. */
export async function obstacles(root: string, registry: string | undefined): Promise<string[]> {
  const manifest = await readManifest(root);
  const changelog = await readFile(join(root, "CHANGELOG.md"), "utf8");
  return [
    manifest.version !== VERSION && `package.json is version ${manifest.version}, runtime/version.ts ${VERSION}`,
    sectionOf(changelog, VERSION) === undefined && `CHANGELOG.md has no section [${VERSION}] with a date`,
    ...(await gitObstacles(root)),
    manifest.repository === undefined && "package.json names no repository, which npm's provenance needs",
    registry === undefined && "no --registry: nobody could pull the images",
  ].filter((obstacle) => obstacle !== false);
}

async function gitObstacles(root: string): Promise<(string | false)[]> {
  const git = async (...args: string[]): Promise<string> => run("git", args, { cwd: root });
  const tag = `v${VERSION}`;
  try {
    const changes = await git("status", "--porcelain");
    const tags = await git("tag", "--list", tag);
    return [
      changes !== "" && `the tree has ${changes.trimEnd().split("\n").length} changes that are not committed`,
      tags !== "" && `the tag ${tag} is there already`,
    ];
  } catch (error) {
    return [`git knows nothing about this folder: ${describeError(error)}`];
  }
}
