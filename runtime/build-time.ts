import { execFileSync } from "node:child_process";
import { join } from "node:path";

/**
 * When this program was built: the time of the commit that it was built from, so that two builds are the same. In a
 * checkout it is that of the commit which is checked out. `npm run build` writes this module anew: what it compiles knows
 * the time by itself, and runs nothing.
 *
 * @returns undefined where nobody knows: in sources without their history
 */
export function buildTime(): Date | undefined {
  return commitTime(join(import.meta.dirname, ".."));
}

/** @returns undefined where the folder is not the top of a checkout, or there is no git */
export function commitTime(root: string): Date | undefined {
  // Named, and not looked for: sources that were unpacked inside of another repository are not of its commit.
  const args = [`--git-dir=${join(root, ".git")}`, "log", "-1", "--format=%ct"];
  try {
    const seconds = execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    return /^\d{1,12}$/.test(seconds) ? new Date(Number(seconds) * 1000) : undefined;
  } catch {
    return undefined;
  }
}
