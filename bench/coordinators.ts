import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { BenchCoordinator, makeDeployment } from "./coordinators-servers.ts";
import { type BenchStore, startBenchStore } from "./coordinators-store.ts";
import { processorTime } from "./issuance-servers.ts";
import { median } from "./rounds.ts";

/**
 * `npm run bench:coordinators [-- --rounds N --batch N]`: what a certificate costs with one and with three Coordinators, how
 * long it takes from a set to the last Coordinator that serves it, and how fast one that starts gets the secrets from a
 * peer. Three share a real etcd and kube-apiserver, which `npm run cluster -- --build` builds. It takes root.
 */

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "9" }, batch: { type: "string", default: "120" } },
});
const [rounds, batch] = [Number(values.rounds), Number(values.batch)];

/** How many clients are under way at once. */
const CONCURRENCY = 6;
const WARM_UP = 600;
const IDLE_MS = 5000;
const STORE = "127.46.3.1";
const ALONE = "127.46.3.2";
const THREE = ["127.46.3.11", "127.46.3.12", "127.46.3.13"];

const directory = mkdtempSync(join(tmpdir(), "bench-coordinators-"));
const store: BenchStore = await startBenchStore(join(directory, "api"), STORE);
const deployment = await makeDeployment(directory);
const alone = new BenchCoordinator(deployment, ALONE, [], undefined);
const three = THREE.map((address) => new BenchCoordinator(deployment, address, THREE, store));
try {
  await alone.start();
  for (const coordinator of three) await coordinator.start();
  await alone.set("first");
  const [first = alone, , last = alone] = three;
  const meshCa = await first.set("first");
  for (const coordinator of three) await serves(coordinator, meshCa);
  await costOf([alone], WARM_UP);
  await costOf(three, 3 * WARM_UP);
  // In turns. A process that was just started is compared with none that is warm.
  const costs: Pick<Sample, "one" | "each">[] = [];
  for (let round = 0; round < rounds; round++) {
    costs.push({ one: await costOf([alone], batch), each: await costOf(three, 3 * batch) });
  }
  const idle = await idleCost();
  const samples: Sample[] = [];
  for (const [round, cost] of costs.entries()) {
    samples.push({ ...cost, ...(await setAt(first, `round-${round}`)), ...(await restart(last)) });
  }
  const report = describe(samples, idle);
  process.stdout.write(report);
  writeFileSync(join(import.meta.dirname, "results", "coordinators.md"), report);
} finally {
  for (const coordinator of [alone, ...three]) await coordinator.kill();
  await store.close();
  rmSync(directory, { recursive: true });
}

interface Cost {
  /** Of all its processes for one certificate, in seconds. */
  readonly processor: number;
  /** Certificates in a second of the clock. */
  readonly rate: number;
}

interface Sample {
  readonly one: Cost;
  readonly each: Cost;
  /** From the request until the set was answered, and until the last Coordinator issued by its mesh CA, in milliseconds. */
  readonly answeredMs: number;
  readonly lastMs: number;
  /** From the start of the process until it listened, and until it had the secrets, in milliseconds. */
  readonly listensMs: number;
  readonly hasSecretsMs: number;
}

/** Clients go from one Coordinator to the next. */
async function costOf(coordinators: readonly BenchCoordinator[], times: number): Promise<Cost> {
  let left = times;
  const work = async (): Promise<void> => {
    while (left-- > 0) await coordinators[left % coordinators.length]?.enroll();
  };
  const time = (): number => coordinators.reduce((sum, { process }) => sum + processorTime(process), 0);
  const [before, began] = [time(), performance.now()];
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return { processor: (time() - before) / times, rate: times / ((performance.now() - began) / 1000) };
}

async function setAt(coordinator: BenchCoordinator, name: string): Promise<Pick<Sample, "answeredMs" | "lastMs">> {
  const began = performance.now();
  const meshCa = await coordinator.set(name);
  const answeredMs = performance.now() - began;
  await Promise.all(three.map((each) => serves(each, meshCa)));
  return { answeredMs, lastMs: performance.now() - began };
}

async function serves(coordinator: BenchCoordinator, meshCa: string): Promise<void> {
  while ((await coordinator.enroll().catch(() => undefined)) !== meshCa) await sleep(5);
}

async function restart(coordinator: BenchCoordinator): Promise<Pick<Sample, "listensMs" | "hasSecretsMs">> {
  await coordinator.kill();
  const began = Date.now();
  await coordinator.start();
  const listened = await coordinator.logged("ready");
  const recovered = await coordinator.logged("recovered from a peer");
  return { listensMs: listened - began, hasSecretsMs: recovered - began };
}

/** Processor time of one of three in a second in which nobody asks for anything. */
async function idleCost(): Promise<number> {
  const time = (): number => three.reduce((sum, { process }) => sum + processorTime(process), 0);
  const before = time();
  await sleep(IDLE_MS);
  return (time() - before) / three.length / (IDLE_MS / 1000);
}

function describe(samples: readonly Sample[], idle: number): string {
  const typical = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  const worst = (pick: (sample: Sample) => number): number => Math.max(...samples.map(pick));
  const ms = (pick: (sample: Sample) => number): string => `${Math.round(typical(pick))} | ${Math.round(worst(pick))}`;
  const cost = (name: string, pick: (sample: Sample) => Cost): string => {
    const processor = typical((sample) => pick(sample).processor);
    const rate = typical((sample) => pick(sample).rate);
    return `| ${name} | ${Math.round(processor * 1e6)} | ${Math.round(1 / processor)} | ${Math.round(rate)} |`;
  };
  return [
    "# Three Coordinators",
    "",
    "Written by `npm run bench:coordinators`. Three Coordinators share an etcd and a kube-apiserver; all of it, and the",
    "clients, are on one machine. Medians of rounds.",
    "",
    `${samples.length} rounds of ${batch} certificates for each Coordinator; ${availableParallelism()} cores; Node ${process.versions.node}, OpenSSL ${process.versions.openssl}, ${process.arch}.`,
    "",
    "| certificates | µs of a core for one | per second and core | per second here, with the clients |",
    "|---|---|---|---|",
    cost("one Coordinator, with a folder", ({ one }) => one),
    cost("three Coordinators, with one history", ({ each }) => each),
    "",
    "The third column is what counts where each Coordinator has a node of its own. The last one is of this machine alone.",
    "With three, the first two have in them what each does beside: it looks at the store and talks with its peers.",
    `While nobody asks for anything, each of the three takes ${(idle * 100).toFixed(1)} % of a core for that.`,
    "",
    "| milliseconds | median | worst |",
    "|---|---|---|",
    `| from a set until it is answered | ${ms(({ answeredMs }) => answeredMs)} |`,
    `| from a set until the last of the three issues by its mesh CA | ${ms(({ lastMs }) => lastMs)} |`,
    `| from the start of a process until it listens | ${ms(({ listensMs }) => listensMs)} |`,
    `| from the start of a process until it has the secrets of a peer | ${ms(({ hasSecretsMs }) => hasSecretsMs)} |`,
    `| of that, from listening to having them | ${ms(({ listensMs, hasSecretsMs }) => hasSecretsMs - listensMs)} |`,
    "",
  ].join("\n");
}
