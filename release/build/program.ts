import { join } from "node:path";
import { describeError } from "../../runtime/errors.ts";
import { buildTimeOf } from "../build-time.ts";
import { finishBuild } from "./finish.ts";

/** The last step of `npm run build`: what tsc compiled into dist/ learns when it was built. */

const root = join(import.meta.dirname, "..", "..");
try {
  const time = buildTimeOf(root, process.env["SOURCE_DATE_EPOCH"]);
  await finishBuild(root, join(root, "dist"), time);
  if (time === undefined) {
    process.stderr.write("build: no commit and no SOURCE_DATE_EPOCH: the programs won't know when they were built\n");
  }
} catch (error) {
  process.stderr.write(`build: ${describeError(error)}\n`);
  process.exitCode = 1;
}
