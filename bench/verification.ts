import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measure, median } from "./rounds.ts";
import { snpSubjects } from "./snp-evidence.ts";
import { tdxSubjects } from "./tdx-evidence.ts";

/**
 * `npm run bench:verification [-- --rounds N]`: how much the verification of evidence costs beside the signature checks
 * that it can't do without. What is cached is the chain and the collateral; the report or quote is always another one.
 */

const TARGET = 0.8;

const { values } = parseArgs({ options: { rounds: { type: "string", default: "15" } } });
const rounds = Number(values.rounds);

const families = await Promise.all([snpSubjects(), tdxSubjects()]);
const subjects = families.flat();
const rates = measure(subjects, rounds);

const lines = subjects.map(({ name }, index) => {
  // The signature checks come first in their family.
  const [base] = families.find((family) => family.some((subject) => subject.name === name)) ?? [];
  const bare = rates[subjects.findIndex((subject) => subject === base)] ?? [];
  const own = rates[index] ?? [];
  const ratio = median(own.map((rate, round) => rate / (bare[round] ?? NaN)));
  return { name, rate: median(own), ratio, isJudged: name.includes("cached") && !name.includes("nothing") };
});

const verdict = lines
  .filter(({ isJudged }) => isJudged)
  .map(
    ({ name, ratio }) =>
      `${name}: ${percent(ratio)} of the signature checks alone, ${ratio >= TARGET ? "met" : "missed"}`,
  );

const report = [
  "# Verification of evidence",
  "",
  "Written by `npm run bench:verification`. Per second of one core's processor time, medians of interleaved rounds;",
  "the ratio is to the signature checks alone in the same round.",
  "",
  `${rounds} rounds; ${availableParallelism()} cores; Node ${process.versions.node}, OpenSSL ${process.versions.openssl}, ${process.arch}.`,
  "",
  "| | per second and core | of the signature checks alone |",
  "|---|---|---|",
  ...lines.map(({ name, rate, ratio }) => `| ${name} | ${Math.round(rate)} | ${percent(ratio)} |`),
  "",
  `Target: at least ${percent(TARGET)}.`,
  "",
  ...verdict.map((line) => `- ${line}`),
  "",
].join("\n");
process.stdout.write(report);
writeFileSync(join(import.meta.dirname, "results", "verification.md"), report);

function percent(ratio: number): string {
  return `${Math.round(ratio * 100)} %`;
}
