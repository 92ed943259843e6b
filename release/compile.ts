import { join } from "node:path";
import { run } from "../images/run.ts";
import { finishBuild } from "./build/finish.ts";

/**
 * Compiles the programs anew, and not into dist/, which may be of other sources.
 *
 * @param root of the checkout
 * @param dist a folder that is not there yet
 * @param built what the programs are to know as the time of their build
 * @throws ImageError build_failed
 */
export async function compile(root: string, dist: string, built: Date | undefined): Promise<void> {
  const compiler = join(root, "node_modules", ".bin", "tsc");
  await run(compiler, ["-p", "tsconfig.build.json", "--outDir", dist], { cwd: root });
  await finishBuild(root, dist, built);
}
