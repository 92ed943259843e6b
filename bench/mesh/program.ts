import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { start, stopAll } from "./processes.ts";
import { BACKEND, type Contestant, contestants, PORT, type StartedPair } from "./proxies.ts";
import { type Case, cases, type Figures, SECTIONS } from "./sections.ts";
import { plot } from "./plot.ts";
import { table } from "./table.ts";

/**
 * `npm run bench:mesh [-- --only bulk,requests --rounds 7 --quick --also DIR]`: the mesh proxy beside other proxies.
 * plain → egress → mutual TLS → ingress → plain, on loopback only; about ten minutes, with --quick about two. --also
 * measures another build of this repository too. The mesh proxy is measured as it is shipped: compiled.
 */

const { values } = parseArgs({
  options: {
    only: { type: "string", default: SECTIONS.join(",") },
    rounds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    dist: { type: "string" },
    also: { type: "string", multiple: true, default: [] },
    without: { type: "string", default: "" },
  },
});
/** The longest turn, 10,000 full handshakes, takes half a minute. */
const TURN_MS = 90_000;
const rounds = values.quick ? Math.min(3, Number(values.rounds)) : Number(values.rounds);
const root = join(import.meta.dirname, "../..");
const results = join(import.meta.dirname, "../results");
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
  if (values.dist === undefined) execFileSync("npm", ["run", "--silent", "build"], { cwd: root, stdio: "inherit" });
  const { found: all, absent } = await contestants({ folder, dist: values.dist ?? join(root, "dist") }, values.also);
  const found = all.filter(({ name }) => !values.without.split(",").includes(name.split(",")[0] ?? ""));
  const isWrkThere = existsSync("/usr/bin/wrk");
  if (!isWrkThere) absent.push("requests as many as go: there is no wrk; apt-get install wrk");
  for (const reason of absent) say(`skipped: ${reason}`);
  const backend = [process.execPath, join(import.meta.dirname, "backend.ts"), BACKEND, String(PORT)] as const;
  await start({ command: [...backend] }, { host: BACKEND, port: PORT });
  const loadBefore = loadavg()[0] ?? NaN;
  const begin = performance.now();

  const measured: { readonly of: Case; readonly results: Map<Contestant, Figures[]> }[] = [];
  for (const one of cases(values.quick ? 0.25 : 1, isWrkThere)) {
    if (values.only.split(",").includes(one.section)) measured.push({ of: one, results: await measure(one, found) });
  }
  const report = table(measured, [
    `${rounds} rounds in ${Math.round((performance.now() - begin) / 1000)} s; ${availableParallelism()} cores (${cpus()[0]?.model.trim()}); load before: ${loadBefore.toFixed(1)}.`,
    `Node ${process.versions.node}, OpenSSL ${process.versions.openssl}; ${found
      .filter(({ isPeer }) => isPeer)
      .map(({ name, version }) => `${name} ${version}`)
      .join("; ")}.`,
    ...absent.map((reason) => `Skipped: ${reason}.`),
  ]);
  process.stdout.write(report);
  await writeFile(join(results, "mesh.md"), report);
  await writeFile(join(results, "mesh.svg"), plot(measured));
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
    if (onStarted !== undefined) pairs.set(contestant, await contestant.start(onStarted));
  }
  // The first round warms up and does not count.
  for (let round = one.isMeasuredOnce === true ? 0 : -1; round < (one.isMeasuredOnce === true ? 1 : rounds); round++) {
    for (const contestant of takingPart) {
      if (failed.has(contestant)) continue;
      const figures = await inTime(turn(contestant)).catch((error: unknown) => {
        // It may hang, so it is not asked again.
        failed.add(contestant);
        say(`${one.section}, ${one.name}, ${contestant.name}: ${String(error)}`);
      });
      if (round >= 0 && figures !== undefined) results.get(contestant)?.push(figures);
    }
  }
  await Promise.all([...pairs.values()].flatMap(({ processes }) => processes).map(async (one) => one.stop()));
  say(`${one.section}: ${one.name}`);
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

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
