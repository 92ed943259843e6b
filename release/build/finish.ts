import { join } from "node:path";
import { writeBuildTime } from "../build-time.ts";
import { buildPage } from "./page.ts";
import { buildVerifier } from "./verifier.ts";

/**
 * What is made of the files that tsc compiled, by `npm run build` and for a release alike.
 *
 * @param root of the checkout
 * @param dist the folder with them
 * @param built what the programs are to know as the time of their build
 */
export async function finishBuild(root: string, dist: string, built: Date | undefined): Promise<void> {
  await writeBuildTime(dist, built);
  await buildVerifier(root, dist);
  await buildPage(root, join(dist, "verifier"));
}
