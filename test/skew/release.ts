import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The release before this version. docs/release.md says when these change. */
export const PREVIOUS = { version: "0.1.0", commit: "2ba7a87" } as const;

const root = join(import.meta.dirname, "../..");

/** Why the sources of the previous release can't be had; empty: they can. A shallow clone lacks them. */
export const NO_PREVIOUS =
  spawnSync("git", ["cat-file", "-e", `${PREVIOUS.commit}^{commit}`], { cwd: root }).status === 0
    ? ""
    : `, which needs commit ${PREVIOUS.commit} in the clone`;

export interface Release {
  /** Its sources, with the packages of this checkout. */
  readonly root: string;
  readonly remove: () => void;
}

export function checkOutPrevious(): Release {
  const folder = mkdtempSync(join(tmpdir(), "previous-release-"));
  const archive = spawnSync("git", ["archive", PREVIOUS.commit], { cwd: root, maxBuffer: 2 ** 28 });
  if (archive.status !== 0) throw new Error(archive.stderr.toString());
  mkdirSync(join(folder, "source"));
  const unpacked = spawnSync("tar", ["-x", "-C", join(folder, "source")], { input: archive.stdout });
  if (unpacked.status !== 0) throw new Error(unpacked.stderr.toString());
  symlinkSync(join(root, "node_modules"), join(folder, "source/node_modules"));
  return { root: join(folder, "source"), remove: () => rmSync(folder, { recursive: true }) };
}
