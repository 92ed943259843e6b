import { randomBytes } from "node:crypto";
import dns from "node:dns";
import { once } from "node:events";
import { isIP, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer, type TLSSocket } from "node:tls";
import { beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { createMesh, type Mesh, type Workload } from "../pki/test-mesh.ts";
import {
  connectPlain,
  ending,
  freePort,
  type LogLine,
  readAll,
  refusals,
  startProxy,
  startServer,
} from "../test/mesh-proxies.ts";
import { ONLY_NATIVE, ONLY_STREAMS } from "../test/ways.ts";
import { DEADLINE_MS } from "./limits/numbers.ts";

const PROXY = "127.74.0.2";
const UPSTREAM = "127.74.0.3";
const HOUR = 3_600_000;

let mesh: Mesh;
let client: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  client = await mesh.issue({ sans: ["client"] });
});

interface Upstream {
  readonly port: number;
  readonly seen: readonly TLSSocket[];
  /** How many bytes it has received on all connections. */
  readonly received: () => number;
}

/** A TLS server that asks for a certificate of the mesh, and echoes. */
async function startUpstream(workload: Workload): Promise<Upstream> {
  const seen: TLSSocket[] = [];
  let received = 0;
  const { certChain: cert, key } = workload;
  const server = createServer({ cert, key, ca: mesh.meshCa, requestCert: true, minVersion: "TLSv1.3" });
  server.on("secureConnection", (socket) => {
    seen.push(socket);
    socket.on("data", (chunk) => (received += chunk.length));
  });
  const port = await startServer(UPSTREAM, (socket) => void socket.pipe(socket), server);
  return { port, seen, received: () => received };
}

async function startEgress(
  port: number,
  { host = UPSTREAM, san = "", now = () => new Date() } = {},
): Promise<LogLine[]> {
  const rule = `upstream#${PROXY}:${port}#${host}:${port}${san === "" ? "" : `#${san}`}`;
  return startProxy(mesh, client, { CONTRAST_EGRESS_PROXY_CONFIG: rule }, now);
}

async function echo(port: number, text: string): Promise<string> {
  const socket = connectPlain(PROXY, port);
  socket.end(text);
  return String(await readAll(socket));
}

test("the application reaches a workload of the mesh, which sees the application's certificate", async () => {
  const { port, seen } = await startUpstream(await mesh.issue());
  const lines = await startEgress(port);
  const socket = connectPlain(PROXY, port);
  socket.write("hello");
  await expect.poll(() => seen[0]?.getPeerX509Certificate()?.subjectAltName).toBe("DNS:client");
  expect(seen[0]?.getProtocol()).toBe("TLSv1.3");
  expect(seen[0]?.servername).toBe(false);
  socket.end();
  expect(String(await readAll(socket))).toBe("hello");
  expect(refusals(lines)).toEqual([]);
});

/** Names as a preloaded module may resolve them: it replaces the lookup that sockets use. */
function resolve(names: Readonly<Record<string, string>>): void {
  const { lookup } = dns;
  onTestFinished(() => void (dns.lookup = lookup));
  dns.lookup = ((...args: [string, object, (error: Error | null, addresses: object[]) => void]) => {
    const [host, , done] = args;
    const address = names[host];
    if (isIP(host) !== 0) Reflect.apply(lookup, dns, args);
    else if (address === undefined) done(Object.assign(new Error("not found"), { code: "ENOTFOUND" }), []);
    else done(null, [{ address, family: 4 }]);
  }) as typeof lookup;
}

test("an upstream with a DNS name is asked for by that name", async () => {
  resolve({ "upstream.example.": UPSTREAM });
  const { port, seen } = await startUpstream(await mesh.issue());
  await startEgress(port, { host: "upstream.example." });
  expect(await echo(port, "hello")).toBe("hello");
  expect(seen[0]?.servername).toBe("upstream.example");
});

test("an upstream whose name does not resolve is a reset, not a clean end", async () => {
  resolve({});
  const port = await freePort(PROXY);
  const lines = await startEgress(port, { host: "upstream.example" });
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNRESET");
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{ code: "upstream_refused", where: `upstream.example:${port}`, got: "ENOTFOUND" }]);
});

test.each(["web", "WEB", "203.0.113.34", "2001:db8::1", "spiffe://mesh/web"])("the pin %s is met", async (san) => {
  const sans = ["db", "web", "203.0.113.34", "2001:db8::1", "spiffe://mesh/web"];
  const { port } = await startUpstream(await mesh.issue({ sans }));
  await startEgress(port, { san });
  expect(await echo(port, "hello")).toBe("hello");
});

test("an upstream that does not listen is a reset, not a clean end", async () => {
  const port = await freePort(UPSTREAM);
  const lines = await startEgress(port);
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNRESET");
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{ code: "upstream_refused", where: `${UPSTREAM}:${port}`, got: "ECONNREFUSED" }]);
});

test.each([
  ["sends something else than TLS", randomBytes(100)],
  ["closes the connection", Buffer.alloc(0)],
])("an upstream that %s is a reset, not a clean end", async (_, bytes) => {
  const port = await startServer(UPSTREAM, (socket) => void socket.end(bytes));
  const lines = await startEgress(port);
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "tls_handshake" }]);
});

test("an upstream that does not answer is a reset after a while, not a wait for ever", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const accepted = Promise.withResolvers<Socket>();
  const port = await startServer(UPSTREAM, (socket) => accepted.resolve(socket));
  const lines = await startEgress(port);
  const socket = connectPlain(PROXY, port);
  await once(await accepted.promise, "data");
  vi.advanceTimersByTime(DEADLINE_MS);
  expect(await ending(socket)).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_timeout", where: `${UPSTREAM}:${port}` }]);
});

// The native engine has no clock but the machine's.
test.skipIf(ONLY_NATIVE !== "")(`a session does not outlive the upstream's certificate${ONLY_NATIVE}`, async () => {
  const validForMs = 4_000;
  const until = Date.now() + validForMs;
  const { port, seen } = await startUpstream(await mesh.issue({ sans: ["web"], validForMs }));
  const lines = await startEgress(port, { san: "web" });
  const isReused: boolean[] = [];
  for (let i = 0; i < 2; i++) {
    const socket = connectPlain(PROXY, port);
    socket.write("hello");
    await expect.poll(() => seen.length).toBe(i + 1);
    isReused.push(seen[i]?.isSessionReused() === true);
    socket.end();
    expect(String(await readAll(socket))).toBe("hello");
  }
  expect(isReused).toEqual([false, true]);
  await sleep(until + 1_000 - Date.now());
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "upstream_untrusted", got: "CERT_HAS_EXPIRED" }]);
});

test.skipIf(ONLY_STREAMS !== "")(
  `sessions are resumed with an upstream that was accepted, until its certificate expires${ONLY_STREAMS}`,
  async () => {
    let now = new Date();
    const { port, seen } = await startUpstream(await mesh.issue({ sans: ["web"] }));
    await startEgress(port, { san: "web", now: () => now });
    const isReused: boolean[] = [];
    for (let i = 0; i < 3; i++) {
      if (i === 2) now = new Date(Date.now() + 2 * HOUR);
      const socket = connectPlain(PROXY, port);
      socket.write("hello");
      await expect.poll(() => seen.length).toBe(i + 1);
      isReused.push(seen[i]?.isSessionReused() === true);
      socket.end();
      expect(String(await readAll(socket))).toBe("hello");
    }
    expect(isReused).toEqual([false, true, false]);
  },
);
