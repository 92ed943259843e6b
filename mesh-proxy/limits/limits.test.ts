import { once } from "node:events";
import type { Socket } from "node:net";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { clientHello } from "../../test/client-hello.ts";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  refusals,
  type StartedProxy,
  startLiveProxy,
  startServer,
} from "../../test/mesh-proxies.ts";
import { ONLY_STREAMS } from "../../test/ways.ts";
import { type LimitConfiguration, type Limits, limitsOf } from "./limits.ts";
import { FOOTPRINTS } from "./memory.ts";

const MIB = 2 ** 20;

const PROXY = "127.78.0.2";
const APPLICATION = "127.78.0.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

const UNSET: LimitConfiguration = {
  CONTRAST_MEMORY_LIMIT: undefined,
  CONTRAST_MAX_INGRESS_CONNECTIONS: undefined,
  CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: undefined,
  CONTRAST_MAX_EGRESS_CONNECTIONS: undefined,
  CONTRAST_MAX_HANDSHAKES: undefined,
  CONTRAST_MAX_HANDSHAKES_PER_SOURCE: undefined,
  CONTRAST_HANDSHAKE_TIMEOUT: 10_000,
};

const PLENTY = { memory: 2 ** 40, footprint: FOOTPRINTS.native };

test.each<[number, boolean, number, number, number]>([
  [800, true, 0, 400, 400],
  [800, true, 2, 200, 100],
  [800, false, 4, 400, 100],
  [1_000_000, true, 1, 16_384, 16_384],
  [Infinity, true, 0, 16_384, 16_384],
  [3, true, 9, 1, 1],
])(
  "%d descriptors are shared, ingress %s, %d egress rules",
  (descriptors, hasIngress, egressRules, ingress, egress) => {
    const limits = limitsOf(UNSET, { ...PLENTY, descriptors, hasIngress, egressRules });
    expect(limits.ingress).toEqual({ total: ingress, perPeer: Math.max(1, Math.floor(ingress / 4)) });
    expect(limits.egress).toEqual({ total: egress, perPeer: egress });
  },
);

/** The table of docs/mesh-proxy.md; 256 MiB are what `generate` gives the container. */
test.each([
  { engine: "native", mib: 128, connections: 1_792, handshakes: 224, held: 14 },
  { engine: "native", mib: 256, connections: 5_888, handshakes: 512, held: 46 },
  { engine: "native", mib: 1024, connections: 16_384, handshakes: 512, held: 238 },
  { engine: "streams", mib: 128, connections: 448, handshakes: 112, held: 14 },
  { engine: "streams", mib: 256, connections: 1_472, handshakes: 368, held: 46 },
  { engine: "streams", mib: 1024, connections: 7_616, handshakes: 512, held: 238 },
] as const)("$mib MiB are for so much with the engine $engine", ({ engine, mib, connections, handshakes, held }) => {
  const footprint = FOOTPRINTS[engine];
  const sharing = { memory: mib * MIB, footprint, descriptors: 100_000, hasIngress: true };
  expect(limitsOf(UNSET, { ...sharing, egressRules: 0 })).toMatchObject({
    ingress: { total: connections, perPeer: connections / 4 },
    handshakes: {
      total: handshakes,
      perPeer: handshakes / 4,
      waiting: { total: connections, perPeer: connections / 4 },
    },
    heldBytes: { total: held * MIB, perSource: (held / 4) * MIB },
    handshakeMs: 10_000,
  } satisfies Partial<Limits>);
  if (connections === 16_384) return;
  expect(limitsOf(UNSET, { ...sharing, egressRules: 2 })).toMatchObject({
    ingress: { total: connections / 2 },
    egress: { total: connections / 4 },
  });
});

test("whatever there is, no source has half of anything, and all together fit into it", () => {
  const sharing = fc.record({
    memory: fc.integer({ min: 96 * MIB, max: 2 ** 36 }),
    footprint: fc.constantFrom(FOOTPRINTS.native, FOOTPRINTS.streams),
    descriptors: fc.oneof(fc.integer({ min: 64, max: 1_000_000 }), fc.constant(Infinity)),
    hasIngress: fc.boolean(),
    egressRules: fc.nat(40),
  });
  fc.assert(
    fc.property(sharing, (given) => {
      const limits = limitsOf(UNSET, given);
      for (const { total, perPeer } of [limits.ingress, limits.handshakes]) {
        if (total > 1) expect(perPeer).toBeLessThanOrEqual(total / 2);
        if (total >= 8) expect(perPeer).toBeLessThan(total / 2);
      }
      expect(limits.heldBytes.perSource).toBeLessThan(limits.heldBytes.total / 2);
      const ingress = given.hasIngress ? limits.ingress.total : 0;
      const connections = ingress + given.egressRules * limits.egress.total;
      const { connection, handshake } = given.footprint;
      const bytes = connections * connection + limits.handshakes.total * handshake + limits.heldBytes.total;
      // Each rule has at least one connection.
      expect(bytes).toBeLessThan(given.memory + given.egressRules * connection);
    }),
  );
});

test("what is set is what is in effect", () => {
  const set: LimitConfiguration = {
    ...UNSET,
    CONTRAST_MAX_INGRESS_CONNECTIONS: 50_000,
    CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: 40_000,
    CONTRAST_MAX_EGRESS_CONNECTIONS: 7,
    CONTRAST_MAX_HANDSHAKES: 6,
    CONTRAST_MAX_HANDSHAKES_PER_SOURCE: 5,
    CONTRAST_HANDSHAKE_TIMEOUT: 4,
  };
  expect(limitsOf(set, { ...PLENTY, descriptors: 800, hasIngress: true, egressRules: 1 })).toMatchObject({
    ingress: { total: 50_000, perPeer: 40_000 },
    egress: { total: 7, perPeer: 7 },
    handshakes: { total: 6, perPeer: 5, waiting: { total: 50_000, perPeer: 40_000 } },
    handshakeMs: 4,
  });
});

/** An echoing application, passed through or behind mutual TLS. */
async function startIngress(
  limits: Readonly<Record<string, string>>,
  tls: "passthrough" | "mutual" = "passthrough",
): Promise<StartedProxy & { readonly port: number }> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: tls === "passthrough" ? `web#${port}#true` : "",
    ...(tls === "mutual" ? { CONTRAST_INGRESS_PORTS: `${port}` } : {}),
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    ...limits,
  });
  return { ...proxy, port };
}

async function served(socket: Socket): Promise<Socket> {
  socket.write("hello");
  await once(socket, "data");
  return socket;
}

test("connections over the total are reset, the others go on, and there is room again when one has ended", async () => {
  const { port, lines } = await startIngress({ CONTRAST_MAX_INGRESS_CONNECTIONS: "2" });
  // One of them is the share of a source.
  const [first, second] = [
    await served(connectPlain(PROXY, port, "127.78.1.1")),
    await served(connectPlain(PROXY, port, "127.78.1.2")),
  ];
  expect(await ending(connectPlain(PROXY, port, "127.78.1.3"))).toBe("ECONNRESET");
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([
      { code: "too_many_connections", peer: expect.stringMatching(/^127\.78\.1\.3:/) as string, want: "at most 2" },
    ]);
  await served(second);
  first.end();
  await once(first, "close");
  await served(connectPlain(PROXY, port, "127.78.1.3"));
});

test("connections over a source's share are reset, and other sources are served", async () => {
  const { port, lines } = await startIngress({ CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: "2" });
  await served(connectPlain(PROXY, port, "127.78.1.1"));
  await served(connectPlain(PROXY, port, "127.78.1.1"));
  expect(await ending(connectPlain(PROXY, port, "127.78.1.1"))).toBe("ECONNRESET");
  await served(connectPlain(PROXY, port, "127.78.1.2"));
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{ code: "too_many_connections_of_source", want: "at most 2" }]);
});

test("a thousand refusals of one reason are one line of the log and a count", async () => {
  const { port, lines } = await startIngress({ CONTRAST_MAX_INGRESS_CONNECTIONS: "1" });
  await served(connectPlain(PROXY, port));
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 100 }, async () => ending(connectPlain(PROXY, port))));
  }
  const code = "too_many_connections";
  // At level debug each has its line.
  const each = (): number => lines.filter(({ msg }) => String(msg).startsWith("connection refused")).length;
  await expect.poll(each, { timeout: 5_000 }).toBe(1_000);
  expect(refusals(lines).every((line) => line["code"] === code)).toBe(true);
  // One a second, on a machine however slow.
  expect(refusals(lines).length).toBeLessThan(20);
});

test("an egress listener has its own limit, which is not that of another", async () => {
  const [one, other] = ["127.78.2.1", "127.78.2.2"];
  const port = await freePort(one);
  // An upstream that accepts and is silent: connections stay in their handshake.
  const upstream = await startServer(APPLICATION, () => {});
  const { lines, telemetry } = await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `a#${one}:${port}#${APPLICATION}:${upstream}##b#${other}:${port}#${APPLICATION}:${upstream}`,
    CONTRAST_MAX_EGRESS_CONNECTIONS: "1",
  });
  connectPlain(one, port);
  await expect.poll(() => telemetry.admission.mostEgress).toBe(1);
  expect(await ending(connectPlain(one, port))).toBe("ECONNRESET");
  connectPlain(other, port);
  await expect.poll(() => telemetry.metrics.rule("egress", "b").open).toBe(1);
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{ code: "too_many_connections", listener: `${one}:${port}` }]);
});

test.skipIf(ONLY_STREAMS !== "")(
  `a client that gets no turn for its handshake in time is refused${ONLY_STREAMS}`,
  async () => {
    const limits = { CONTRAST_MAX_HANDSHAKES: "1", CONTRAST_HANDSHAKE_TIMEOUT: "300ms" };
    const { port, lines, streams } = await startIngress(limits, "mutual");
    const leave = streams?.admission.handshakes.enter("somebody", () => {});
    expect(await ending(connectSecurely(mesh, workload, { host: PROXY, port }))).toBe("ECONNRESET");
    await expect.poll(() => refusals(lines)).toMatchObject([{ code: "too_many_handshakes" }]);
    leave?.();
    await served(connectSecurely(mesh, workload, { host: PROXY, port }));
  },
);

test("places are given free however a connection ends", async () => {
  const { port, telemetry } = await startIngress({}, "mutual");
  const good = await served(connectSecurely(mesh, workload, { host: PROXY, port }));
  const reset = await served(connectSecurely(mesh, workload, { host: PROXY, port }));
  expect(telemetry.admission.ingress.inside).toBe(2);
  good.end();
  reset.destroy();
  const refused = connectSecurely(mesh, undefined, { host: PROXY, port });
  await ending(refused);
  connectPlain(PROXY, port).end("garbage");
  const { ingress, handshakes } = telemetry.admission;
  await expect.poll(() => [ingress.inside, handshakes.inside, handshakes.waiting]).toEqual([0, 0, 0]);
});

test("sources that have taken all places between them make room for one that has none", async () => {
  const { port, lines } = await startIngress({ CONTRAST_MAX_INGRESS_CONNECTIONS: "16" });
  const sources = Array.from({ length: 4 }, (_, index) => `127.78.3.${index + 1}`);
  for (const source of sources) for (let i = 0; i < 3; i++) await served(connectPlain(PROXY, port, source));
  for (const source of sources) void connectPlain(PROXY, port, source);
  for (let i = 0; i < 5; i++) await served(connectPlain(PROXY, port, `127.78.4.${i + 1}`));
  await expect.poll(() => refusals(lines).map(({ code }) => code)).toContain("too_many_connections");
  expect(new Set(refusals(lines).map(({ code }) => code))).toEqual(new Set(["too_many_connections"]));
});

test("clients that say nothing make room for one of their own address that does, after a second", async () => {
  const { port } = await startIngress({ CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: "3" }, "mutual");
  const silent = Array.from({ length: 3 }, () => connectPlain(PROXY, port));
  await Promise.all(silent.map(async (socket) => once(socket, "connect")));
  expect(await ending(connectSecurely(mesh, workload, { host: PROXY, port }))).toBe("ECONNRESET");
  await sleep(1_000);
  await served(connectSecurely(mesh, workload, { host: PROXY, port }));
});

test("clients that stop in their handshake hold up others of their address for a second at most", async () => {
  const { port, telemetry } = await startIngress({ CONTRAST_MAX_HANDSHAKES_PER_SOURCE: "3" }, "mutual");
  const hello = await clientHello();
  for (let i = 0; i < 10; i++) connectPlain(PROXY, port).write(hello);
  await expect.poll(() => telemetry.admission.handshakes.waiting).toBe(7);
  const start = performance.now();
  await served(connectSecurely(mesh, workload, { host: PROXY, port }));
  expect(performance.now() - start).toBeLessThan(5_000);
});

test("clients of other addresses that stop in their handshake hold up nobody", async () => {
  const { port, telemetry } = await startIngress({ CONTRAST_MAX_HANDSHAKES: "8" }, "mutual");
  const hello = await clientHello();
  for (let i = 0; i < 40; i++) connectPlain(PROXY, port, `127.78.5.${(i % 4) + 1}`).write(hello);
  await expect.poll(() => telemetry.admission.handshakes.waiting).toBe(32);
  await served(connectSecurely(mesh, workload, { host: PROXY, port, localAddress: "127.78.5.9" }));
  expect(telemetry.admission.handshakes.inside).toBe(8);
});

test("readers that don't read are reset before they hold more than may be held, and others go on", async () => {
  const port = await startServer(APPLICATION, (socket) => {
    socket.once("data", (first) => {
      socket.write(first);
      socket.once("data", () => socket.write(Buffer.alloc(64 * MIB)));
    });
  });
  const { lines, telemetry } = await startLiveProxy(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `web#${port}#false`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_MEMORY_LIMIT: "64Mi",
    CONTRAST_MAX_INGRESS_CONNECTIONS: "200",
    CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: "100",
  });
  const { total, perSource } = telemetry.admission.limits.heldBytes;
  const other = await served(connectSecurely(mesh, undefined, { host: PROXY, port, localAddress: "127.78.6.9" }));
  for (let i = 0; i < 60; i++) {
    const reader = connectSecurely(mesh, undefined, { host: PROXY, port, localAddress: "127.78.6.1" });
    await served(reader);
    reader.pause().write("go");
    expect(telemetry.admission.heldBytes.mostOfOneSource).toBeLessThanOrEqual(perSource);
  }
  await expect.poll(() => refusals(lines).map(({ code }) => code)).toContain("too_many_bytes_waiting");
  expect(telemetry.admission.heldBytes.used).toBeLessThanOrEqual(total);
  expect(telemetry.metrics.rule("ingress", "web").bufferedBytes).toBeLessThanOrEqual(perSource + 60 * 16 * 1024);
  other.write("go");
  await once(other, "data");
});
