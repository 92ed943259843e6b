import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { commitTime } from "../runtime/build-time.ts";
import { ReleaseError } from "./error.ts";

/**
 * The time that a build knows as its own. The same sources have the same one, so that builds are reproducible: the time
 * of the commit, or for sources without their history what SOURCE_DATE_EPOCH says.
 *
 * @param epoch SOURCE_DATE_EPOCH: seconds since 1970; it goes before the commit
 * @returns undefined where nothing says it
 * @throws ReleaseError malformed_time
 */
export function buildTimeOf(root: string, epoch: string | undefined): Date | undefined {
  if (epoch === undefined) return commitTime(root);
  if (/^\d{1,12}$/.test(epoch)) return new Date(Number(epoch) * 1000);
  throw new ReleaseError("malformed_time", "the time of the sources is malformed", {
    where: "SOURCE_DATE_EPOCH",
    got: JSON.stringify(epoch),
    want: "seconds since 1970",
  });
}

/** Writes the module that runtime/build-time.ts is in a checkout. @param dist what tsc compiled */
export async function writeBuildTime(dist: string, time: Date | undefined): Promise<void> {
  const value = time === undefined ? "undefined" : `new Date(${JSON.stringify(time.toISOString())})`;
  const text = `export function buildTime() {\n    return ${value};\n}\n`;
  await writeFile(join(dist, "runtime", "build-time.js"), text);
}
