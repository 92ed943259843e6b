import { isDeepStrictEqual } from "node:util";
import type { Coverage } from "./coverage.ts";
import { type Chance, mutate } from "./mutate.ts";

/**
 * Looks for inputs that a target does not stand: mutants of what is in the corpus, and whatever mutant runs blocks of
 * the program that none before it ran joins the corpus.
 */
export interface Target {
  readonly name: string;
  /** Inputs to begin with, at least one. */
  readonly seeds: readonly Uint8Array[];
  /** The documented refusals: nothing else may be thrown. */
  readonly refusals: readonly (abstract new (...args: never[]) => Error)[];
  /** Throws a refusal, or `Broken` where what it promises does not hold. */
  readonly run: (input: Buffer) => unknown;
}

/** A target does not keep what it promises. */
export class Broken extends Error {}

/** @throws Broken */
export function requireEqual(what: string, got: unknown, want: unknown): void {
  if (!isDeepStrictEqual(got, want)) throw new Broken(what);
}

export interface Finding {
  readonly target: string;
  readonly input: Buffer;
  readonly error: unknown;
}

export interface Outcome {
  readonly runs: number;
  readonly corpus: number;
  readonly finding: Finding | undefined;
}

/** Processor time that an input may take, in milliseconds. */
const LONGEST_RUN = 50;
const BATCH = 50;

/** @param isOver whether the time is up */
export async function campaign(
  target: Target,
  coverage: Coverage,
  chance: Chance,
  isOver: () => boolean,
): Promise<Outcome> {
  const corpus: Buffer[] = [];
  let runs = 0;
  let inputs: readonly Buffer[] = target.seeds.map((seed) => Buffer.from(seed));
  // What was run until now does not count.
  coverage.addNew();
  do {
    for (const input of inputs) {
      runs++;
      const error = await attempt(target, input);
      if (error !== undefined) {
        return { runs, corpus: corpus.length, finding: { target: target.name, input, error } };
      }
    }
    if (corpus.length === 0) corpus.push(...inputs);
    if (coverage.hasNew()) {
      // Which of them was it?
      for (const input of inputs) {
        await attempt(target, input);
        if (coverage.addNew()) corpus.push(input);
      }
    }
    const parent = chance.of(corpus);
    inputs = Array.from({ length: BATCH }, () => mutate(parent, corpus, chance));
  } while (!isOver());
  return { runs, corpus: corpus.length, finding: undefined };
}

/** @returns what is wrong with the target, or undefined */
export async function attempt(target: Target, input: Buffer): Promise<unknown> {
  let shortest = Infinity;
  // The machine does other things, too, and so does the runtime: what counts is the best of some.
  for (let left = 5; left > 0 && shortest > LONGEST_RUN; left--) {
    const start = process.cpuUsage();
    try {
      await target.run(Buffer.from(input));
    } catch (error) {
      if (!target.refusals.some((refusal) => error instanceof refusal)) return error;
    }
    const { user, system } = process.cpuUsage(start);
    shortest = Math.min(shortest, (user + system) / 1000);
  }
  if (shortest <= LONGEST_RUN) return undefined;
  return new Broken(`takes ${Math.round(shortest)} ms of processor time for ${input.length} bytes`);
}
