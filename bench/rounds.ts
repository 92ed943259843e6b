/**
 * Measures subjects in turns, so that what else the machine does hits all of them alike. What counts is processor time
 * of this process, not time on the clock.
 */
export interface Subject {
  readonly name: string;
  /** Makes input that was never seen before, and what is measured on it: true, or the measurement is void. */
  readonly prepare: () => () => boolean;
  /** How many inputs make a turn. */
  readonly times: number;
}

/**
 * @param warmUp rounds that do not count
 * @returns per subject, in each round, how many a second of one core would do
 */
export function measure(subjects: readonly Subject[], rounds: number, warmUp = 3): readonly (readonly number[])[] {
  const rates = subjects.map(() => [] as number[]);
  for (let round = -warmUp; round < rounds; round++) {
    for (const [index, subject] of subjects.entries()) {
      const rate = takeTurn(subject);
      if (round >= 0) rates[index]?.push(rate);
    }
  }
  return rates;
}

function takeTurn({ name, prepare, times }: Subject): number {
  const runs = Array.from({ length: times }, prepare);
  const start = process.cpuUsage();
  let held = true;
  for (const run of runs) held = run() && held;
  const { user, system } = process.cpuUsage(start);
  if (!held) throw new Error(`${name}: something that is right was refused`);
  return times / ((user + system) / 1e6);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
