import { once } from "node:events";
import type { Socket } from "node:net";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../test/mesh-certificates.ts";
import {
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  refusals,
  type StartedProxy,
  startLiveProxy,
  startServer,
} from "../test/mesh-proxies.ts";
import { type LimitConfiguration, type Limits, limitsOf } from "./limits.ts";

const PROXY = "127.78.0.2";
const APPLICATION = "127.78.0.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

const UNSET: LimitConfiguration = {
  CONTRAST_MAX_INGRESS_CONNECTIONS: undefined,
  CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: undefined,
  CONTRAST_MAX_EGRESS_CONNECTIONS: undefined,
  CONTRAST_MAX_HANDSHAKES: undefined,
  CONTRAST_MAX_HANDSHAKES_PER_SOURCE: undefined,
  CONTRAST_HANDSHAKE_TIMEOUT: 10_000,
};

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
    const limits = limitsOf(UNSET, { descriptors, hasIngress, egressRules });
    expect(limits.ingress).toEqual({ total: ingress, perPeer: Math.ceil(ingress / 2) });
    expect(limits.egress).toEqual({ total: egress, perPeer: egress });
  },
);

test("what is set is what is in effect", () => {
  const set: LimitConfiguration = {
    CONTRAST_MAX_INGRESS_CONNECTIONS: 50_000,
    CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: 40_000,
    CONTRAST_MAX_EGRESS_CONNECTIONS: 7,
    CONTRAST_MAX_HANDSHAKES: 6,
    CONTRAST_MAX_HANDSHAKES_PER_SOURCE: 5,
    CONTRAST_HANDSHAKE_TIMEOUT: 4,
  };
  expect(limitsOf(set, { descriptors: 800, hasIngress: true, egressRules: 1 })).toEqual({
    ingress: { total: 50_000, perPeer: 40_000 },
    egress: { total: 7, perPeer: 7 },
    handshakes: { total: 6, perPeer: 5, waiting: { total: 50_000, perPeer: 40_000 } },
    handshakeMs: 4,
  } satisfies Limits);
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
  // Half of it is the share of a source.
  const [first, second] = [
    await served(connectPlain(PROXY, port, "127.78.1.1")),
    await served(connectPlain(PROXY, port, "127.78.1.2")),
  ];
  expect(await ending(connectPlain(PROXY, port, "127.78.1.3"))).toBe("ECONNRESET");
  expect(refusals(lines)).toMatchObject([
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
  expect(refusals(lines)).toMatchObject([{ code: "too_many_connections_of_source", want: "at most 2" }]);
});

test("a thousand refusals of one reason are one line of the log and a count", async () => {
  const { port, lines } = await startIngress({ CONTRAST_MAX_INGRESS_CONNECTIONS: "1" });
  await served(connectPlain(PROXY, port));
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 100 }, async () => ending(connectPlain(PROXY, port))));
  }
  const code = "too_many_connections";
  const counted = (): number => refusals(lines).reduce((sum, { count = 1 }) => sum + (count as number), 0);
  await expect.poll(counted, { timeout: 5_000 }).toBe(1_000);
  expect(refusals(lines).every((line) => line["code"] === code)).toBe(true);
  // One a second, on a machine however slow.
  expect(refusals(lines).length).toBeLessThan(20);
});

test("an egress listener has its own limit, which is not that of another", async () => {
  const [one, other] = ["127.78.2.1", "127.78.2.2"];
  const port = await freePort(one);
  // An upstream that accepts and is silent: connections stay in their handshake.
  const upstream = await startServer(APPLICATION, () => {});
  const { lines, watch } = await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `a#${one}:${port}#${APPLICATION}:${upstream}##b#${other}:${port}#${APPLICATION}:${upstream}`,
    CONTRAST_MAX_EGRESS_CONNECTIONS: "1",
  });
  connectPlain(one, port);
  await expect.poll(() => watch.admission.mostEgress).toBe(1);
  expect(await ending(connectPlain(one, port))).toBe("ECONNRESET");
  connectPlain(other, port);
  await expect.poll(() => watch.metrics.rule("egress", "b").open).toBe(1);
  expect(refusals(lines)).toMatchObject([{ code: "too_many_connections", listener: `${one}:${port}` }]);
});

test("a client that gets no turn for its handshake in time is refused", async () => {
  const limits = { CONTRAST_MAX_HANDSHAKES: "1", CONTRAST_HANDSHAKE_TIMEOUT: "300ms" };
  const { port, lines, watch } = await startIngress(limits, "mutual");
  const leave = watch.admission.handshakes.enter("somebody", () => {});
  expect(await ending(connectSecurely(mesh, workload, { host: PROXY, port }))).toBe("ECONNRESET");
  expect(refusals(lines)).toMatchObject([{ code: "too_many_handshakes" }]);
  leave?.();
  await served(connectSecurely(mesh, workload, { host: PROXY, port }));
});

test("places are given free however a connection ends", async () => {
  const { port, watch } = await startIngress({}, "mutual");
  const good = await served(connectSecurely(mesh, workload, { host: PROXY, port }));
  const reset = await served(connectSecurely(mesh, workload, { host: PROXY, port }));
  expect(watch.admission.ingress.inside).toBe(2);
  good.end();
  reset.destroy();
  const refused = connectSecurely(mesh, undefined, { host: PROXY, port });
  await ending(refused);
  connectPlain(PROXY, port).end("garbage");
  const { ingress, handshakes } = watch.admission;
  await expect.poll(() => [ingress.inside, handshakes.inside, handshakes.waiting]).toEqual([0, 0, 0]);
});
