// Counts what ran. A skipped test fails the run unless .ci/allowed-skips.json names it with its reason. A name that ends in
// * stands for all that begin so, and one that begins with * for all that end so. "lacks" is the command, and "missing"
// the path beside or in the checkout, for lack of which the test is skipped: where that is there, nothing may be skipped.
// Usage: node summary.mjs TEST_RESULTS TEST_EXIT_CODE ENGINE_OUTPUT ENGINE_EXIT_CODE DEMO_OUTPUT DEMO_EXIT_CODE
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

const [, , resultsFile, testExit, engineFile, engineExit, demoFile, demoExit] = process.argv;
const tests = JSON.parse(readFileSync(resultsFile, "utf8")).testResults.flatMap((file) =>
  file.assertionResults.map(({ fullName, status }) => ({ name: fullName.trim(), status })),
);
const count = (status) => tests.filter((test) => test.status === status).length;
const allowed = JSON.parse(readFileSync(new URL("allowed-skips.json", import.meta.url), "utf8"));
const isMissing = (command) => !process.env.PATH.split(delimiter).some((folder) => existsSync(join(folder, command)));
const isNamed = (name, pattern) => {
  if (pattern.endsWith("*")) return name.startsWith(pattern.slice(0, -1));
  return pattern.startsWith("*") ? name.endsWith(pattern.slice(1)) : name === pattern;
};
const reasonOf = ({ name }) => {
  const [, rule] = Object.entries(allowed).find(([pattern]) => isNamed(name, pattern)) ?? [];
  if (rule?.lacks !== undefined && !isMissing(rule.lacks)) return undefined;
  if (rule?.missing !== undefined && existsSync(new URL(`../${rule.missing}`, import.meta.url))) return undefined;
  return rule?.reason;
};
const skipped = tests.filter(({ status }) => status !== "passed" && status !== "failed");
const surprises = skipped.filter((test) => reasonOf(test) === undefined);
for (const test of skipped) process.stdout.write(`skipped: ${test.name} (${reasonOf(test) ?? "NOT ALLOWED"})\n`);

// Of cargo test, a line for each of its programs.
const engine = { passed: 0, failed: 0 };
for (const [, passed, failed] of readFileSync(engineFile, "utf8").matchAll(
  /^test result: .* (\d+) passed; (\d+) failed;/gm,
)) {
  engine.passed += Number(passed);
  engine.failed += Number(failed);
}
if (engine.passed === 0) engine.failed++;

const outcomes = readFileSync(demoFile, "utf8").match(/(\d+) passed, (\d+) failed/);
const demoPassed = Number(outcomes?.[1] ?? 0);
const demoFailed = outcomes === null ? 1 : Number(outcomes[2]);
const passed = count("passed") + engine.passed + demoPassed;
const failed = count("failed") + engine.failed + demoFailed + surprises.length;
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length - surprises.length} skipped\n`);
process.exit(failed === 0 && [testExit, engineExit, demoExit].every((code) => Number(code) === 0) ? 0 : 1);
