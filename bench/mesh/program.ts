import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Case, type Figures, SECTIONS } from "./case.ts";
import { type Conditions, lookAt } from "./conditions.ts";
import { BACKEND, type Kind, PORT } from "./kinds.ts";
import { ship, shippedBy } from "./own.ts";
import { plot } from "./plot.ts";
import { start, stopAll } from "./processes.ts";
import { type Contestant, contestants, type StartedPair } from "./proxies.ts";
import { cases } from "./sections.ts";
import { replaceMarked, summary } from "./summary.ts";
import { table } from "./table.ts";

/**
 * `npm run bench:mesh [-- --only bulk,requests --rounds 7 --quick --also CHECKOUT]`: the mesh proxy beside other proxies.
 * plain → egress → mutual TLS → ingress → plain, on loopback only; about twenty minutes, with --quick about seven. --also
 * measures another checkout too, which has been built. A run of all sections writes `bench/results/mesh.{md,svg}`, and the
 * table in README.md.
 */

const { values } = parseArgs({
  options: {
    only: { type: "string", default: SECTIONS.join(",") },
    rounds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    also: { type: "string", multiple: true, default: [] },
    without: { type: "string", default: "" },
  },
});
/** The longest turn, 10,000 full handshakes, takes half a minute. */
const TURN_MS = 90_000;
const sections = values.only.split(",");
const isWhole = SECTIONS.every((section) => sections.includes(section)) && values.without === "";
const rounds = values.quick ? Math.min(3, Number(values.rounds)) : Number(values.rounds);
const root = join(import.meta.dirname, "../..");
const results = join(import.meta.dirname, "../results");
const failures: string[] = [];
const folder = await mkdtemp(join(tmpdir(), "bench-mesh-"));

process.once("SIGINT", () => void stopAll().then(() => process.exit(130)));
process.once("SIGTERM", () => void stopAll().then(() => process.exit(143)));
try {
  await run();
} finally {
  await stopAll();
  await rm(folder, { recursive: true });
}

async function run(): Promise<void> {
  // What is measured is what stands in the sources.
  for (const script of ["build:engine", "build"]) {
    execFileSync("npm", ["run", "--silent", script], { cwd: root, stdio: "inherit" });
  }
  await mkdir(join(folder, "shipped"));
  const shipped = await ship(root, join(folder, "shipped"));
  const others: Kind[] = [];
  for (const [at, checkout] of values.also.entries()) others.push(await shippedBy(checkout, join(folder, `${at}`)));
  const { found: all, absent } = await contestants({ folder, shipped }, others);
  const found = all.filter(({ name }) => !values.without.split(",").includes(name.split(",")[0] ?? ""));
  const isWrkThere = existsSync("/usr/bin/wrk");
  if (!isWrkThere) absent.push("requests as many as go: there is no wrk; apt-get install wrk");
  for (const reason of absent) say(`skipped: ${reason}`);
  const backend = [process.execPath, join(import.meta.dirname, "backend.ts"), BACKEND, String(PORT)] as const;
  await start({ command: [...backend] }, { host: BACKEND, port: PORT });
  const loadBefore = loadavg()[0] ?? NaN;
  const begin = performance.now();
  const took = new Map<string, number>();
  const count = (section: string, since: number): void =>
    void took.set(section, (took.get(section) ?? 0) + (performance.now() - since) / 1000);

  const conditions =
    isWhole || sections.includes("conditions") ? await lookAtAll(found) : new Map<Contestant, Conditions>();
  count("conditions", begin);
  const measured: { readonly of: Case; readonly results: Map<Contestant, Figures[]> }[] = [];
  for (const one of cases(values.quick ? 0.25 : 1, isWrkThere)) {
    if (!sections.includes(one.section)) continue;
    const since = performance.now();
    measured.push({ of: one, results: await measure(one, found) });
    count(one.section, since);
    say(`${one.section}: ${one.name}: ${Math.round((performance.now() - since) / 1000)} s`);
  }
  const seconds = [...took].map(([section, time]) => `${section} ${Math.round(time)}`).join(", ");
  const report = table(measured, conditions, [
    `${rounds} rounds${values.quick ? ", short ones (--quick)" : ""} in ${Math.round((performance.now() - begin) / 1000)} s (${seconds}); ${availableParallelism()} cores (${cpus()[0]?.model.trim()}); load before: ${loadBefore.toFixed(1)}.`,
    `Node ${process.versions.node}, OpenSSL ${process.versions.openssl}; ${found
      .filter(({ isPeer, isTunedForBulk }) => isPeer && !isTunedForBulk)
      .map(({ name, version }) => `${name} ${version}`)
      .join("; ")}.`,
    ...absent.map((reason) => `Skipped: ${reason}.`),
    ...failures.map((failure) => `Failed: ${failure}.`),
  ]);
  process.stdout.write(report);
  if (!isWhole) return;
  await writeFile(join(results, "mesh.md"), report);
  await writeFile(join(results, "mesh.svg"), plot(measured));
  const readme = join(root, "README.md");
  await writeFile(readme, replaceMarked(await readFile(readme, "utf8"), summary(measured)));
}

async function lookAtAll(found: readonly Contestant[]): Promise<Map<Contestant, Conditions>> {
  const conditions = new Map<Contestant, Conditions>();
  for (const contestant of found) {
    if (contestant.isTunedForBulk || contestant.threads !== undefined) continue;
    const looked = await inTime(lookAt(contestant)).catch((error: unknown) => fail("conditions", contestant, error));
    if (looked !== undefined) conditions.set(contestant, looked);
  }
  return conditions;
}

async function measure(one: Case, found: readonly Contestant[]): Promise<Map<Contestant, Figures[]>> {
  const results = new Map<Contestant, Figures[]>();
  const pairs = new Map<Contestant, StartedPair>();
  const takingPart = found.filter((contestant) => one.takesPart(contestant));
  const { onStarted, alone } = one;
  const turn = async (contestant: Contestant): Promise<Figures> => {
    const pair = pairs.get(contestant);
    if (pair !== undefined && onStarted !== undefined) return onStarted.measure(pair);
    return alone?.(contestant) ?? {};
  };
  const failed = new Set<Contestant>();
  for (const contestant of takingPart) {
    results.set(contestant, []);
    if (onStarted === undefined) continue;
    const pair = await contestant.start(onStarted).catch((error: unknown) => fail(one.name, contestant, error));
    if (pair === undefined) failed.add(contestant);
    else pairs.set(contestant, pair);
  }
  // The first round warms up and does not count.
  for (let round = one.isMeasuredOnce === true ? 0 : -1; round < (one.isMeasuredOnce === true ? 1 : rounds); round++) {
    for (const contestant of takingPart) {
      if (failed.has(contestant)) continue;
      const figures = await inTime(turn(contestant)).catch((error: unknown) => {
        // It may hang, so it is not asked again.
        failed.add(contestant);
        fail(`${one.section}, ${one.name}`, contestant, error);
      });
      if (round >= 0 && figures !== undefined) results.get(contestant)?.push(figures);
    }
  }
  await Promise.all([...pairs.values()].flatMap(({ processes }) => processes).map(async (one) => one.stop()));
  return results;
}

async function inTime<T>(turn: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not done in ${TURN_MS} ms`)), TURN_MS);
  try {
    return await Promise.race([turn, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function fail(what: string, { name }: Contestant, error: unknown): undefined {
  failures.push(`${what}, ${name}: ${error instanceof Error ? error.message : String(error)}`);
  say(failures.at(-1) ?? "");
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
