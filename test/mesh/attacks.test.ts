import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { readAnnotations } from "../../cli/generate/annotations.ts";
import { meshProxy } from "../../cli/generate/mesh-proxy-container.ts";
import { memoryLimitVariable } from "../../runtime/memory-limit.ts";
import { makeMemoryGroup, type MemoryGroup } from "../memory-group.ts";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import { connectSecurely, freePort, startServer } from "../mesh-proxies.ts";
import { startProgram } from "../programs.ts";
import { ONLY_NATIVE } from "../ways.ts";
import type { Orders } from "./attacks/attacker.ts";
import { type ProxyProgram, startProxyProgram } from "./proxy-program.ts";
import { ping } from "./traffic.ts";

/**
 * Attacks of strangers on a mesh proxy in a control group with the memory that `contrast generate` gives it. While each of
 * them goes on, its probes are answered and a good client is served, as a rule within two seconds, and nobody is killed.
 */

const PROXY = "127.76.1.1";
const APPLICATION = "127.76.1.2";

const ONE = ["127.76.2.1"];
const FOUR = ["127.76.2.1", "127.76.2.2", "127.76.2.3", "127.76.2.4"];
const MANY = Array.from({ length: 60 }, (_, index) => `127.76.3.${index + 1}`);

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

const group = makeMemoryGroup(memoryOfSidecar());
group?.remove();

/** As `contrast generate` writes it, in bytes. */
function memoryOfSidecar(): number {
  const { resources } = meshProxy(undefined, readAnnotations([], []), {
    containers: [],
    sidecar: "native",
    mode: "transparent",
    user: 0,
  });
  return memoryLimitVariable.parse(String(resources?.limits?.["memory"])) ?? NaN;
}

interface Attack extends Pick<Orders, "attack" | "sources" | "count"> {
  readonly on: "mutual" | "server only" | "passed through" | "admin";
  readonly variables?: Readonly<Record<string, string>>;
}

const ATTACKS: readonly Attack[] = [
  { attack: "chains of 98 KB", on: "mutual", sources: ONE, count: 10 },
  { attack: "chains of 98 KB", on: "server only", sources: ONE, count: 10 },
  { attack: "slow readers", on: "server only", sources: ONE, count: 1_500 },
  { attack: "silent connections", on: "mutual", sources: FOUR, count: 5_000 },
  { attack: "first messages, and then silence", on: "mutual", sources: FOUR, count: 2_000 },
  { attack: "first messages without end", on: "mutual", sources: FOUR, count: 200 },
  { attack: "handshakes byte by byte", on: "mutual", sources: FOUR, count: 1_000 },
  { attack: "key updates", on: "server only", sources: ONE, count: 20 },
  { attack: "empty records", on: "server only", sources: ONE, count: 20 },
  { attack: "records of one byte", on: "server only", sources: ONE, count: 20 },
  { attack: "handshake messages of 16 MiB after the handshake", on: "server only", sources: ONE, count: 20 },
  { attack: "handshake messages of 64 KiB in pieces of one byte", on: "server only", sources: ONE, count: 20 },
  { attack: "half records", on: "server only", sources: FOUR, count: 1_000 },
  { attack: "renegotiation", on: "server only", sources: ONE, count: 20, variables: { CONTRAST_TLS_MIN: "1.2" } },
  { attack: "readers of metrics who don't read", on: "admin", sources: FOUR, count: 300 },
];

/**
 * The other engine promises nothing here. OpenSSL verifies whatever chain fits into a handshake, in one go. And Node gives the
 * buffers of connections back when its collector runs: where a thousand of them fill at once, that can be too late
 * (docs/mesh-proxy.md).
 */
const COSTLY: readonly Attack[] = [
  { attack: "slow readers", on: "server only", sources: FOUR, count: 1_500 },
  { attack: "slow readers", on: "passed through", sources: FOUR, count: 1_500 },
  { attack: "senders to an application that does not read", on: "server only", sources: FOUR, count: 1_000 },
  { attack: "senders to an application that does not read", on: "passed through", sources: FOUR, count: 1_000 },
  { attack: "chains as long as they may be", on: "mutual", sources: ONE, count: 40 },
  { attack: "chains as long as they may be", on: "mutual", sources: MANY, count: 200 },
];

describe.runIf(group !== undefined)("in a control group (skipped where none can be made)", () => {
  // The kernel of a machine that others use drops and resets connections, too: what an attack does, it does twice.
  const options = { timeout: 60_000, retry: 1 };
  test.each(ATTACKS)("$attack, $on, $count at once", options, endure);
  test.skipIf(ONLY_NATIVE !== "").each(COSTLY)(`$attack, $on, $count at once${ONLY_NATIVE}`, options, endure);
});

async function endure(attack: Attack): Promise<void> {
  const { good, begin, program, memory } = await attacked(attack);
  const calm = median(await durationsOf(good, CALM));
  await begin();
  const durations = await durationsOf(good, ATTACKED);
  expect(memory.kills()).toBe(0);
  expect(program.child.exitCode).toBeNull();
  // The first may wait for the handshakes of the attack's first second: that is the machine's speed, and no promise.
  expect(median(durations)).toBeLessThan(2_000 * Math.max(1, calm / UNHURRIED_MS));
  expect(Math.max(...durations)).toBeLessThan(PATIENCE_MS);
}

/** Of a machine that does nothing else, at most. Where others have its processors, two seconds are longer. */
const UNHURRIED_MS = 150;
/** Who waits longer gives up: the timeouts of clients and of the pod's probes, times their threshold. */
const PATIENCE_MS = 15_000;
const CALM = { forMs: 700, times: 3 };
const ATTACKED = { forMs: 2_000, times: 5 };

/** One after the other, for that time and that often at least. */
async function durationsOf(act: () => Promise<void>, least: typeof CALM): Promise<number[]> {
  const begin = performance.now();
  const durations: number[] = [];
  while (durations.length < least.times || performance.now() - begin < least.forMs) {
    const start = performance.now();
    await act();
    durations.push(performance.now() - start);
    await sleep(100);
  }
  return durations;
}

/** @throws where it takes longer than anybody waits */
async function soon(who: string, served: Promise<void>): Promise<void> {
  const late = sleep(PATIENCE_MS, undefined, { ref: false }).then(() => {
    throw new Error(`${who} was not served within ${PATIENCE_MS} ms`);
  });
  late.catch(() => {});
  await Promise.race([served, late]);
}

function median(durations: readonly number[]): number {
  return durations.toSorted((a, b) => a - b)[Math.floor(durations.length / 2)] ?? NaN;
}

interface Attacked {
  /** A probe, a workload of the mesh and a client of the open port are served, each on a connection of its own. */
  readonly good: () => Promise<void>;
  /** Begins the attack. */
  readonly begin: () => Promise<void>;
  readonly program: ProxyProgram;
  readonly memory: MemoryGroup;
}

async function attacked({ on, variables, ...orders }: Attack): Promise<Attacked> {
  const memory = makeMemoryGroup(memoryOfSidecar());
  if (memory === undefined) throw new Error("there was one before");
  onTestFinished(memory.remove);
  const echo = async (): Promise<number> => startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const [mutual, open] = [await echo(), await echo()];
  const [admin, attackedOpen, attackedPassed] = [
    await freePort("127.0.0.1"),
    await freePort(APPLICATION),
    await freePort(APPLICATION),
  ];
  const program = await startProxyProgram(
    mesh,
    workload,
    {
      CONTRAST_INGRESS_PROXY_CONFIG: `open#${open}#false##attacked#${attackedOpen}#false##passed#${attackedPassed}#true`,
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: PROXY,
      CONTRAST_INGRESS_TARGET: APPLICATION,
      CONTRAST_INGRESS_PORTS: `${mutual}`,
      CONTRAST_ADMIN_PORT: `${admin}`,
      ...variables,
    },
    memory.within,
  );
  const target = { mutual, "server only": attackedOpen, "passed through": attackedPassed, admin }[on];
  const told: Orders = {
    ...orders,
    host: on === "admin" ? "127.0.0.1" : PROXY,
    port: target,
    isPlain: on === "passed through",
    application: { host: APPLICATION, port: target },
  };
  const begin = async (): Promise<void> => {
    const attacker = startProgram(["test/mesh/attacks/attacker.ts", JSON.stringify(told)], {}, ["nice", "-n", "10"]);
    onTestFinished(async () => {
      attacker.child.kill("SIGKILL");
      await attacker.exited;
    });
    await attacker.line("attacking");
  };
  const served = async (port: number, as: Workload | undefined): Promise<void> => {
    const socket = connectSecurely(mesh, as, { host: PROXY, port, localAddress: "127.76.9.1" });
    const failed = once(socket, "close").then(() => Promise.reject(new Error("a good client was not served")));
    await Promise.race([ping(socket), failed]);
    failed.catch(() => {});
    socket.destroy();
  };
  return {
    begin,
    program,
    memory,
    good: async () => {
      const probe = async (): Promise<void> => {
        const answer = await fetch(`http://127.0.0.1:${admin}/readyz`);
        expect(answer.status).toBe(200);
      };
      await Promise.all([
        soon("the probe", probe()),
        soon("a workload", served(mutual, workload)),
        soon("a client of the open port", served(open, undefined)),
      ]);
    },
  };
}
