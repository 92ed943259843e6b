import { randomInt } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect, parseArgs } from "node:util";
import { attempt, campaign, type Finding, type Target } from "./campaign.ts";
import { Coverage } from "./coverage.ts";
import { Chance } from "./mutate.ts";

/**
 * `npm run fuzz [-- --seconds N] [--target NAME [--input FILE]] [--seed N]`: coverage-guided fuzzing of everything that
 * parses bytes of others. Coverage is V8's own: the library in jazzer.js 4.0.0 needs glibc 2.38, and Debian 12 has 2.36.
 */

const FINDINGS = join(import.meta.dirname, "findings");

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: `${randomInt(2 ** 31)}` },
    target: { type: "string" },
    input: { type: "string" },
  },
});

// V8 counts the blocks of what is compiled from now on.
const coverage = new Coverage();
const { parserTargets } = await import("./targets.ts");
const all = await parserTargets();
const targets = all.filter(({ name }) => values.target === undefined || name === values.target);
if (targets.length === 0) {
  print(`no such target; there are ${all.map(({ name }) => name).join(", ")}`);
  process.exitCode = 2;
} else if (values.input === undefined) {
  await fuzz(targets);
} else {
  await replay(targets, readFileSync(values.input));
}
coverage.close();

async function fuzz(targets: readonly Target[]): Promise<void> {
  print(`${values.seconds} seconds, seed ${values.seed}`);
  const chance = new Chance(Number(values.seed));
  // What was run to get here does not count.
  coverage.addNew();
  const share = (Number(values.seconds) * 1000) / targets.length;
  for (const target of targets) {
    const end = performance.now() + share;
    const before = coverage.size;
    const { runs, corpus, finding } = await campaign(target, coverage, chance, () => performance.now() > end);
    print(`${target.name}: ${runs} inputs, ${coverage.size - before} characters of source, corpus of ${corpus}`);
    if (finding !== undefined) keep(finding);
  }
}

async function replay(targets: readonly Target[], input: Buffer): Promise<void> {
  for (const target of targets) {
    const error = await attempt(target, input);
    print(`${target.name}: ${error === undefined ? "holds" : inspect(error)}`);
    if (error !== undefined) process.exitCode = 1;
  }
}

function keep({ target, input, error }: Finding): void {
  mkdirSync(FINDINGS, { recursive: true });
  const file = join(FINDINGS, `${target.replaceAll(" ", "-")}.bin`);
  writeFileSync(file, input);
  print(`  FAILED: ${inspect(error)}\n  again: npm run fuzz -- --target "${target}" --input ${file}`);
  process.exitCode = 1;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
