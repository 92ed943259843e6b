import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeDeployments } from "./generate-files.ts";
import { median } from "./rounds.ts";

/**
 * `npm run bench:generate [-- --rounds N]`: what `contrast generate` costs for the resources of many workloads, beside
 * reading and writing the same files once as YAML and hashing their policies. All is processor time of a process, with its
 * start. Rounds are interleaved.
 */

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "7" }, workloads: { type: "string", default: "401" } },
});
const [rounds, workloads] = [Number(values.rounds), Number(values.workloads)];

const directory = mkdtempSync(join(tmpdir(), "bench-generate-"));
const [source, resources, workspace] = ["source", "resources", "workspace"].map((name) => join(directory, name)) as [
  string,
  string,
  string,
];
try {
  mkdirSync(workspace);
  await writeDeployments(source, workloads - 1, 40);
  const samples: { readonly first: number; readonly again: number; readonly bare: number }[] = [];
  for (let round = -1; round < rounds; round++) {
    rmSync(resources, { recursive: true, force: true });
    cpSync(source, resources, { recursive: true });
    const sample = { first: run("generate"), again: run("generate"), bare: run("bare") };
    // The first one makes the keys of the owners.
    if (round >= 0) samples.push(sample);
  }
  const row = (name: string, cost: (sample: (typeof samples)[number]) => number): string =>
    `| ${name} | ${median(samples.map(cost)).toFixed(2)} | ${median(samples.map((sample) => cost(sample) / sample.bare)).toFixed(1)} |`;
  const report = [
    "# generate",
    "",
    `Written by \`npm run bench:generate\`. Processor time of one process for the resources of ${workloads} workloads, in seconds;`,
    "medians of interleaved rounds, ratios of the same round.",
    "",
    `${samples.length} rounds; ${availableParallelism()} cores; Node ${process.versions.node}, ${process.arch}.`,
    "",
    "| | seconds | ratio |",
    "|---|---|---|",
    row("read and write the files once as YAML, SHA-256 of the policies", ({ bare }) => bare),
    row("`generate`, for the first time", ({ first }) => first),
    row("`generate` again, which changes nothing", ({ again }) => again),
    "",
    "`generate` composes a document twice more than it is read: to change its text in place, and to read what the changed",
    "text says before it is written. Beside YAML it compiles the policies, compresses and hashes them.",
    "",
  ].join("\n");
  process.stdout.write(report);
  writeFileSync(join(import.meta.dirname, "results", "generate.md"), report);
} finally {
  rmSync(directory, { recursive: true });
}

/** @returns seconds of processor time */
function run(subject: "generate" | "bare"): number {
  const program = join(import.meta.dirname, "generate-once.ts");
  const target = subject === "bare" ? join(directory, "bare") : workspace;
  mkdirSync(target, { recursive: true });
  return Number(execFileSync(process.execPath, [program, subject, target, resources], { encoding: "utf8" })) / 1e6;
}
