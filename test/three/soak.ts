import { once } from "node:events";
import { createInterface } from "node:readline";
import { NO_NAMESPACES, startRounds } from "./start.ts";

/**
 * The long form: a line for each round, and a table of the times at its end.
 *
 * @param options longest: time that something stands still or is cut off, in milliseconds
 * @returns the exit code
 */
export async function soakThree(options: {
  readonly rounds: string;
  readonly seed: string;
  readonly longest: string;
  readonly small: boolean;
}): Promise<number> {
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  if (NO_NAMESPACES !== undefined) {
    print(`three Coordinators need network namespaces: ${NO_NAMESPACES}`);
    return 1;
  }
  const { rounds, seed, longest, small } = options;
  const args = ["--rounds", rounds, "--seed", seed, "--longest", longest, ...(small ? ["--small"] : [])];
  const program = startRounds(args);
  const times = new Map<string, { readonly outages: number[]; readonly again: number[] }>();
  createInterface({ input: program.stdout ?? process.stdin }).on("line", (line) => {
    const { fault, outageMs, againMs } = JSON.parse(line) as { fault?: string; outageMs: number; againMs: number };
    if (fault !== undefined) {
      const of = times.get(fault) ?? { outages: [], again: [] };
      times.set(fault, of);
      of.outages.push(outageMs);
      of.again.push(againMs);
    }
    print(line);
  });
  const [code] = (await once(program, "exit")) as [number | null];
  print("| fault | rounds | nobody issued: median, worst (s) | all serve again: median, worst (s) |");
  print("|---|---|---|---|");
  for (const [fault, { outages, again }] of [...times].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    print(`| ${fault} | ${outages.length} | ${medianAndWorst(outages)} | ${medianAndWorst(again)} |`);
  }
  return code ?? 1;
}

function medianAndWorst(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  return [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((ms = NaN) => (ms / 1000).toFixed(1)).join(", ");
}
