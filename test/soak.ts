import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CrashRounds } from "./crash-rounds.ts";
import { createDeployment } from "./state-deployment.ts";
import { soakThree } from "./three/soak.ts";

/**
 * `npm run soak [-- --rounds N] [--seed N]`: kills the Coordinator so many times in the middle of its work. What it
 * leaves on the disk is kept where a round fails.
 *
 * `npm run soak -- --three [--rounds N] [--seed N] [--longest MS] [--small]`: three Coordinators that share a store, and
 * everything that can happen to them.
 */

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: `${randomInt(2 ** 31)}` },
    three: { type: "boolean", default: false },
    longest: { type: "string", default: "20000" },
    small: { type: "boolean", default: false },
  },
});
if (values.three) process.exit(await soakThree(values));
const total = Number(values.rounds);
const directory = mkdtempSync(join(tmpdir(), "contrast-soak-"));
print(`${total} rounds, seed ${values.seed}, state below ${directory}`);
const rounds = await CrashRounds.start(await createDeployment(directory, "127.94.1.2"), directory, Number(values.seed));
let round = 0;
try {
  while (round < total) {
    round++;
    await rounds.round();
    if (round % 25 === 0) print(`round ${round}: ${summary()}`);
  }
  await rounds.finish();
  rmSync(directory, { recursive: true });
  print(`passed: ${round} kills, ${summary()}`);
} catch (error) {
  print(`FAILED in round ${round} of seed ${values.seed}, ${summary()}; see ${directory}`);
  throw error;
}

function summary(): string {
  const { old, new: happened, answered, recoveries } = rounds.outcomes;
  return `sets: ${old} old, ${happened} new, ${answered} answered; recoveries: ${recoveries}`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
