import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bareOperations } from "./bare-operations.ts";
import { startBareGrpc, startBareTls, startCoordinator } from "./issuance-servers.ts";
import { measure, median } from "./rounds.ts";

/**
 * `npm run bench:issuance [-- --rounds N --batch N]`: what a certificate costs the Coordinator, from the TCP connection to
 * the signed leaf, beside the signatures, verifications and the key agreement that it can't do without, and beside
 * servers of Node that do nothing but TLS, or nothing but TLS and gRPC. All is processor time: of this process for the operations, of the server's
 * process, with all its threads, for the rest. Rounds are interleaved.
 */

const TARGET = 0.7;

/** Requests that do not count. */
const WARM_UP = 3000;

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "15" }, batch: { type: "string", default: "200" } },
});
const [rounds, batch] = [Number(values.rounds), Number(values.batch)];

const directory = mkdtempSync(join(tmpdir(), "bench-issuance-"));
const servers = {
  tls: await startBareTls(),
  grpc: await startBareGrpc(),
  coordinator: await startCoordinator(directory),
};
try {
  const operations = await bareOperations();
  // Until the compiler has seen what they do often.
  for (const server of Object.values(servers)) await server.measure(WARM_UP);
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round++) {
    const costs = measure(operations, 1, 1).map(([rate = NaN]) => 1 / rate);
    const [verification = NaN, leaf = NaN] = costs;
    const handshake = await servers.tls.measure(batch);
    const call = await servers.grpc.measure(batch);
    const certificate = await servers.coordinator.measure(batch);
    samples.push({
      costs,
      handshake,
      call,
      operations: costs.reduce((sum, cost) => sum + cost, 0),
      withTls: handshake + verification + leaf,
      withGrpc: call + verification + leaf,
      certificate,
    });
  }
  const report = describe(
    operations.map(({ name }) => name),
    samples,
  );
  process.stdout.write(report);
  writeFileSync(join(import.meta.dirname, "results", "issuance.md"), report);
} finally {
  await Promise.all(Object.values(servers).map((server) => server.stop()));
  rmSync(directory, { recursive: true });
}

/** What one round measured: seconds of processor time for one. */
interface Sample {
  /** Of each operation. */
  readonly costs: readonly number[];
  readonly handshake: number;
  readonly call: number;
  /** What a certificate costs at least: by the operations alone, with TLS in Node, and with gRPC in Node. */
  readonly operations: number;
  readonly withTls: number;
  readonly withGrpc: number;
  readonly certificate: number;
}

function describe(names: readonly string[], samples: readonly Sample[]): string {
  const typical = (cost: (sample: Sample) => number): number => median(samples.map(cost));
  const row = (name: string, cost: (sample: Sample) => number): string =>
    `| ${name} | ${Math.round(typical(cost) * 1e6)} | ${Math.round(1 / typical(cost))} |`;
  const reached = (name: string, floor: (sample: Sample) => number): string => {
    const ratio = typical((sample) => floor(sample) / sample.certificate);
    return `- of ${name}: ${Math.round(ratio * 100)} %, ${ratio >= TARGET ? "met" : "missed"}`;
  };
  return [
    "# Issuing certificates",
    "",
    "Written by `npm run bench:issuance`. Processor time for one certificate in microseconds, and how many a second of one",
    "core would do; medians of interleaved rounds, ratios of the same round. Servers are processes of their own, and all",
    "their threads count.",
    "",
    `${samples.length} rounds of ${batch}; ${availableParallelism()} cores; Node ${process.versions.node}, OpenSSL ${process.versions.openssl}, ${process.arch}.`,
    "",
    "| | µs | per second and core |",
    "|---|---|---|",
    ...names.map((name, index) => row(name, ({ costs }) => costs[index] ?? NaN)),
    row("TLS handshake of a bare Node server, certificates on both sides", ({ handshake }) => handshake),
    row("that, and one gRPC call to a bare grpc-js server", ({ call }) => call),
    row("(a) the operations together", ({ operations }) => operations),
    row("(b) the bare TLS server, the report's verification, the leaf's signature", ({ withTls }) => withTls),
    row("(c) the bare gRPC server, the report's verification, the leaf's signature", ({ withGrpc }) => withGrpc),
    row("**the Coordinator**: TCP, TLS, exchange, verification, gRPC, leaf, audit", ({ certificate }) => certificate),
    "",
    `Target: at least ${TARGET * 100} % of the rate`,
    "",
    reached("(a), the bare operations", ({ operations }) => operations),
    reached("(b), what TLS in Node allows", ({ withTls }) => withTls),
    reached("(c), what gRPC in Node allows", ({ withGrpc }) => withGrpc),
    "",
    "(b) is more than (a) by what Node and OpenSSL do around the operations, and (c) by HTTP/2 and grpc-js. What the",
    "Coordinator adds to (c) is the exchange of evidence, a round trip of its own; parsing the report and comparing it with",
    "the manifest; reading the peer's key; writing the leaf; metrics, the log and the audit log.",
    "[Decision 0039](../../docs/decisions/0039-cost-of-an-enrolment.md) shows where the time goes.",
    "",
  ].join("\n");
}
