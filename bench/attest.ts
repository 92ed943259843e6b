import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { launchCoordinator, processorTime } from "./issuance-servers.ts";
import { measure, median } from "./rounds.ts";

/**
 * `npm run bench:attest [-- --rounds N --seconds N]`: what an answer of the HTTP attestation API costs with many verifiers at
 * once, beside a server of Node that makes a report for each, and beside the report alone. Rounds are interleaved.
 */

const VERIFIERS = [1, 16, 256] as const;
/** Each has a quarter of the Coordinator's places. */
const SOURCES = ["127.44.23.11", "127.44.23.12", "127.44.23.13", "127.44.23.14"] as const;

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "7" }, seconds: { type: "string", default: "2" } },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];

interface Measured {
  /** Answers a second, as the verifiers see them. */
  readonly rate: number;
  /** Reports a second. */
  readonly reports: number;
  /** Seconds of the server's processor time for one answer. */
  readonly cost: number;
  /** Seconds, of each. */
  readonly latencies: readonly number[];
}

interface Server {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly child: ChildProcess;
  /** How many reports it has made, where it does not make one for each answer. */
  readonly reports: (() => Promise<number>) | undefined;
}

const directory = mkdtempSync(join(tmpdir(), "bench-attest-"));
const coordinator = await startCoordinator();
const servers = [coordinator, await startBare()];
const attester = await openSimulatedAttester(join(directory, "vm0"));
try {
  for (const server of servers) await load(server, 16, 2);
  const subjects = servers.flatMap((server) => VERIFIERS.map((verifiers) => ({ server, verifiers })));
  const samples: Measured[][] = [];
  const alone: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const [[rate = NaN] = []] = measure([{ name: "report", prepare: bareReport, times: 400 }], 1, 1);
    alone.push(1 / rate);
    const measured: Measured[] = [];
    for (const { server, verifiers } of subjects) measured.push(await load(server, verifiers, seconds));
    samples.push(measured);
  }
  const report = describe(
    subjects.map(({ server: { name }, verifiers }) => ({ name, verifiers })),
    samples,
    median(alone),
  );
  process.stdout.write(report);
  writeFileSync(join(import.meta.dirname, "results", "attest.md"), report);
} finally {
  for (const { child } of servers) {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  }
  rmSync(directory, { recursive: true });
}

/** One of the software TEE. It is made at once, and what is awaited of it later is there. */
function bareReport(): () => boolean {
  const reportData = randomBytes(64);
  return () => {
    void attester.collect(reportData);
    return true;
  };
}

async function startCoordinator(): Promise<Server> {
  const host = "127.44.23.1";
  const { child } = await launchCoordinator(directory, host, "");
  const reports = async (): Promise<number> => {
    const text = await (await fetch(`http://${host}:9102/metrics`)).text();
    return Number(/^contrast_attest_reports_total\{result="ok"\} (\d+)/m.exec(text)?.[1] ?? 0);
  };
  return { name: "the HTTP API", host, port: 1314, child, reports };
}

async function startBare(): Promise<Server> {
  const host = "127.44.23.2";
  const args = [join(import.meta.dirname, "bare-attest.ts"), join(directory, "vm0"), host];
  const child = spawn(process.execPath, [...process.execArgv, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { name: "a report for each verifier", host, port: Number(line.toString()), child, reports: undefined };
}

/** Verifiers who ask again as soon as they are answered, for so long. */
async function load({ host, port, child, reports }: Server, verifiers: number, during: number): Promise<Measured> {
  const latencies: number[] = [];
  const agents = SOURCES.map((localAddress) => new Agent({ keepAlive: true, localAddress }));
  const [before, processor, begin] = [(await reports?.()) ?? 0, processorTime(child), performance.now()];
  const verifier = async (_: unknown, index: number): Promise<void> => {
    const agent = agents[index % agents.length];
    while (performance.now() - begin < during * 1000) {
      const start = performance.now();
      await ask({ host, port, agent });
      latencies.push((performance.now() - start) / 1000);
    }
  };
  await Promise.all(Array.from({ length: verifiers }, verifier));
  const took = (performance.now() - begin) / 1000;
  const cost = (processorTime(child) - processor) / latencies.length;
  const made = reports === undefined ? latencies.length : (await reports()) - before;
  for (const agent of agents) agent.destroy();
  return { rate: latencies.length / took, reports: made / took, cost, latencies };
}

function ask(options: {
  readonly host: string;
  readonly port: number;
  readonly agent: Agent | undefined;
}): Promise<void> {
  const nonce = randomBytes(32).toString("hex");
  const body = JSON.stringify({ nonce });
  const headers = { "content-type": "application/json", "content-length": body.length };
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, path: "/v1/attest", method: "POST", headers }, (response) => {
      let answer = "";
      response.setEncoding("utf8").on("data", (piece: string) => (answer += piece));
      response.on("end", () => {
        if (response.statusCode === 200 && answer.includes(nonce)) resolve();
        else reject(new Error(`${response.statusCode} ${answer.slice(0, 200)}`));
      });
    });
    sent.on("error", reject).end(body);
  });
}

function describe(
  subjects: readonly { readonly name: string; readonly verifiers: number }[],
  samples: readonly (readonly Measured[])[],
  alone: number,
): string {
  const of = (index: number): Measured[] => samples.flatMap((round) => round[index] ?? []);
  const p99 = (index: number): number => {
    const sorted = of(index)
      .flatMap(({ latencies }) => latencies)
      .toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? NaN;
  };
  const rows = subjects.map(({ name, verifiers }, index) => {
    const [rate, reports, cost] = (["rate", "reports", "cost"] as const).map((key) =>
      median(of(index).map((one) => one[key])),
    );
    const cells = [Math.round(rate ?? NaN), (reports ?? NaN).toFixed(1), Math.round((cost ?? NaN) * 1e6)];
    return `| ${name} | ${verifiers} | ${cells.join(" | ")} | ${(p99(index) * 1000).toFixed(0)} |`;
  });
  const ratios = VERIFIERS.map((verifiers, index) => {
    const other = VERIFIERS.length + index;
    const ratio = (key: "rate" | "reports" | "cost"): string =>
      median(samples.map((round) => (round[index]?.[key] ?? NaN) / (round[other]?.[key] ?? NaN))).toPrecision(2);
    return `| ${verifiers} | ${ratio("rate")} | ${ratio("reports")} | ${ratio("cost")} |`;
  });
  return [
    "# Attestation over HTTP",
    "",
    "Written by `npm run bench:attest`. Verifiers who ask for evidence again as soon as they have it: answers and reports a second,",
    "processor time of the server for one answer in microseconds, and how long 99 % of the verifiers waited at most. Beside it a server",
    "of Node that does nothing but make a report for each verifier. Medians of interleaved rounds, ratios of the same round.",
    "Verifiers and servers share the machine.",
    "",
    `${samples.length} rounds of ${seconds} s; ${availableParallelism()} cores; Node ${process.versions.node}, OpenSSL ${process.versions.openssl}, ${process.arch}. A report of the software TEE takes ${Math.round(alone * 1e6)} µs of the processor.`,
    "",
    "| | verifiers | answers a second | reports a second | µs | p99, ms |",
    "|---|---|---|---|---|---|",
    ...rows,
    "",
    "The HTTP API in relation to a report for each verifier, as a factor:",
    "",
    "| verifiers | answers a second | reports a second | processor time |",
    "|---|---|---|---|",
    ...ratios,
    "",
    "A verifier waits for up to 50 ms, in which nonces are collected, so one alone gets less than 20 answers a second. Reports stay below",
    "20 a second, however many verifiers there are: that is what it is for, since a report of hardware takes milliseconds that all VMs of",
    "the host share, and hypervisors throttle them.",
    "",
  ].join("\n");
}
