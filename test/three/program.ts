import { parseArgs } from "node:util";
import { type Round, Rounds } from "./rounds.ts";

/**
 * Runs rounds, and writes a line for each, and at the end one with `total`. It has to be in network and mount namespaces of its
 * own: test/three/start.ts.
 *
 *     node program.ts --rounds N --seed N --longest MS [--small] [--only FAULT]
 */

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
    longest: { type: "string", default: "4000" },
    small: { type: "boolean", default: false },
    only: { type: "string" },
  },
});

// Who started it is gone.
process.stdin.resume().once("end", () => process.exit(1));
process.once("SIGTERM", () => process.exit(1));

const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const seed = Number(values.seed);
const rounds = await Rounds.start({ seed, small: values.small, longestMs: Number(values.longest), only: values.only });
print({ store: rounds.what, seed });
const done: Round[] = [];
try {
  while (done.length < Number(values.rounds)) {
    const round = await rounds.round();
    done.push(round);
    print({ round: done.length, ...round });
  }
  await rounds.close(false);
  print({ total: summary(done) });
} catch (error) {
  const logs = await rounds.close(true);
  print({ failed: done.length + 1, seed, logs, error: String(error) });
  process.exitCode = 1;
}
process.exit();

function summary(all: readonly Round[]): object {
  const of = (pick: (round: Round) => number): { median: number; worst: number } => {
    const sorted = all.map(pick).toSorted((a, b) => a - b);
    return { median: Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0), worst: Math.round(sorted.at(-1) ?? 0) };
  };
  const sum = (pick: (round: Round) => number): number => all.reduce((total, round) => total + pick(round), 0);
  return {
    rounds: all.length,
    outageMs: of(({ outageMs }) => outageMs),
    againMs: of(({ againMs }) => againMs),
    sets: sum(({ sets }) => sets),
    issued: sum(({ issued }) => issued),
    replaced: sum(({ replaced }) => replaced),
    recovered: all.filter(({ recovered }) => recovered).length,
  };
}
