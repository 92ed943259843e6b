// Counts what ran. A skipped test fails the run unless .ci/allowed-skips.json names it with its reason.
// Usage: node summary.mjs TEST_RESULTS TEST_EXIT_CODE DEMO_OUTPUT DEMO_EXIT_CODE
import { readFileSync } from "node:fs";

const [, , resultsFile, testExit, demoFile, demoExit] = process.argv;
const tests = JSON.parse(readFileSync(resultsFile, "utf8")).testResults.flatMap((file) =>
  file.assertionResults.map(({ fullName, status }) => ({ name: fullName.trim(), status })),
);
const count = (status) => tests.filter((test) => test.status === status).length;
const allowed = JSON.parse(readFileSync(new URL("allowed-skips.json", import.meta.url), "utf8"));
const skipped = tests.filter(({ status }) => status !== "passed" && status !== "failed");
const surprises = skipped.filter(({ name }) => !Object.hasOwn(allowed, name));
for (const { name } of skipped) process.stdout.write(`skipped: ${name} (${allowed[name] ?? "NOT ALLOWED"})\n`);

const outcomes = readFileSync(demoFile, "utf8").match(/(\d+) passed, (\d+) failed/);
const demoPassed = Number(outcomes?.[1] ?? 0);
const demoFailed = outcomes === null ? 1 : Number(outcomes[2]);
const failed = count("failed") + demoFailed + surprises.length;
process.stdout.write(
  `${count("passed") + demoPassed} passed, ${failed} failed, ${skipped.length - surprises.length} skipped\n`,
);
process.exit(failed === 0 && Number(testExit) === 0 && Number(demoExit) === 0 ? 0 : 1);
