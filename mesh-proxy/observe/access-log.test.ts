import { once } from "node:events";
import { Writable } from "node:stream";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  connectPlain,
  connectSecurely,
  ending,
  readAll,
  type StartedProxy,
  startLiveProxy,
  startServer,
} from "../../test/mesh-proxies.ts";
import { startProxyProgram } from "../../test/mesh/proxy-program.ts";
import { type AccessEntry, AccessLog } from "./access-log.ts";

const PROXY = "127.81.0.2";
const APPLICATION = "127.81.0.3";
const EGRESS = "127.81.0.4";
const ODD = 'a "rule"\n{"of": many}\u2028 lines';

let mesh: Mesh;
let workload: Workload;
let client: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue({ sans: ["server"] });
  client = await mesh.issue({ sans: ["client", "spiffe://mesh/client"] });
});

/** Mutual TLS at `port`, the rule ODD at `open`, and an egress "self" that leads to `port`. */
async function start(variables: Readonly<Record<string, string>> = {}): Promise<StartedProxy & Ports> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const open = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `${ODD}#${open}#true`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${port}`,
    CONTRAST_EGRESS_PROXY_CONFIG: `self#${EGRESS}:${port}#${PROXY}:${port}`,
    CONTRAST_ACCESS_LOG: "1",
    ...variables,
  });
  return { ...proxy, port, open };
}

interface Ports {
  readonly port: number;
  readonly open: number;
}

const PEER = expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string;
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string;
const DURATION = expect.any(Number) as number;

test("a connection over mutual TLS has a line with all there is to know", async () => {
  const { port, accessed } = await start();
  const socket = connectSecurely(mesh, client, { host: PROXY, port });
  socket.end("hello");
  await readAll(socket);
  await expect.poll(() => accessed).toHaveLength(1);
  expect(accessed[0]).toEqual({
    time: TIME,
    direction: "ingress",
    rule: "(none)",
    listener: `${PROXY}:${port}`,
    peer: PEER,
    upstream: `${APPLICATION}:${port}`,
    names: ["DNS:client", "URI:spiffe://mesh/client"],
    tls: { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", resumed: false },
    up: 5,
    down: 5,
    durationMs: DURATION,
    outcome: "completed",
    reason: null,
  });
});

test("a connection of the application has the names of the upstream, also where its session is resumed", async () => {
  const { port, accessed } = await start();
  const names: unknown[] = [];
  for (let i = 0; i < 2; i++) {
    const socket = connectPlain(EGRESS, port);
    socket.end("hello");
    await readAll(socket);
    await expect.poll(() => accessed.length).toBe(2 * (i + 1));
    const line = accessed.findLast(({ direction }) => direction === "egress");
    names.push(line?.names, line?.tls?.resumed);
    expect(line?.tls?.group).toBe("X25519MLKEM768");
    expect(line).toMatchObject({ rule: "self", listener: `${EGRESS}:${port}`, upstream: `${PROXY}:${port}` });
  }
  expect(names).toEqual([["DNS:server"], false, ["DNS:server"], true]);
});

test("a connection that is refused has a line with the reason, and no names that nobody verified", async () => {
  const { port, accessed } = await start();
  const stranger = await (await createMesh()).issue({ sans: ["server"] });
  await ending(connectSecurely(mesh, stranger, { host: PROXY, port }));
  await expect.poll(() => accessed).toHaveLength(1);
  expect(accessed[0]).toEqual({
    time: TIME,
    direction: "ingress",
    rule: "(none)",
    listener: `${PROXY}:${port}`,
    peer: PEER,
    up: 0,
    down: 0,
    durationMs: DURATION,
    outcome: "refused",
    reason: "client_certificate_untrusted",
  });
});

test("a connection that is reset has a line with what it carried before", async () => {
  const { port, accessed } = await start();
  const transport = connectPlain(PROXY, port);
  const socket = connectSecurely(mesh, client, { socket: transport });
  socket.write("hello");
  await once(socket, "data");
  transport.resetAndDestroy();
  await expect.poll(() => accessed).toHaveLength(1);
  expect(accessed[0]).toMatchObject({
    names: ["DNS:client", "URI:spiffe://mesh/client"],
    up: 5,
    down: 5,
    outcome: "broken",
    reason: "connection_broken",
  });
});

test("a connection that is passed through has a line without TLS, and the rule's name breaks no line", async () => {
  const { open, accessed } = await start();
  const socket = connectPlain(PROXY, open);
  socket.end("hello");
  await readAll(socket);
  // Each line was parsed by itself.
  await expect.poll(() => accessed).toHaveLength(1);
  expect(accessed[0]).toEqual({
    time: TIME,
    direction: "ingress",
    rule: ODD,
    listener: `${PROXY}:${open}`,
    peer: PEER,
    upstream: `${APPLICATION}:${open}`,
    names: [],
    tls: null,
    up: 5,
    down: 5,
    durationMs: DURATION,
    outcome: "completed",
    reason: null,
  });
});

test("connections over a limit have no line, so that a flood does not push the others out", async () => {
  const { open, accessed, telemetry } = await start({ CONTRAST_MAX_INGRESS_CONNECTIONS: "1" });
  const socket = connectPlain(PROXY, open);
  socket.write("hello");
  await once(socket, "data");
  await ending(connectPlain(PROXY, open));
  socket.end();
  await readAll(socket);
  await expect.poll(() => accessed).toHaveLength(1);
  expect(telemetry.metrics.rule("ingress", ODD).ended).toEqual({ completed: 1, refused: 1, broken: 0 });
});

test("without CONTRAST_ACCESS_LOG there are no lines", async () => {
  const { open, accessed, telemetry } = await start({ CONTRAST_ACCESS_LOG: "0" });
  const socket = connectPlain(PROXY, open);
  socket.end("hello");
  await readAll(socket);
  await expect.poll(() => telemetry.metrics.rule("ingress", ODD).ended.completed).toBe(1);
  expect(accessed).toEqual([]);
});

test("connections that end with the program have their lines, and standard output has nothing else", async () => {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const { child, exited, stdout } = await startProxyProgram(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `web#${port}#true`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_ACCESS_LOG: "1",
    CONTRAST_DRAIN_TIMEOUT: "1ms",
  });
  const sockets = Array.from({ length: 20 }, () => connectPlain(PROXY, port));
  for (const socket of sockets) {
    socket.write("hello");
    await once(socket, "data");
  }
  child.kill("SIGTERM");
  await exited;
  const lines = stdout().trimEnd().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as AccessEntry).outcome)).toEqual(sockets.map(() => "broken"));
});

test("lines that nobody reads are lost and counted, not kept and not waited for", () => {
  const stdout = new Writable({ write() {} });
  const log = new AccessLog(stdout, () => new Date(0));
  const entry: AccessEntry = {
    direction: "ingress",
    rule: "web",
    listener: "127.0.0.1:1",
    peer: "127.0.0.1:2",
    up: 0,
    down: 0,
    durationMs: 0,
    outcome: "refused",
    reason: "tls_handshake",
  };
  for (let i = 0; i < 20_000; i++) log.write(entry);
  expect(log.lost).toBeGreaterThan(0);
  expect(stdout.writableLength).toBeLessThan(1024 * 1024 + 1_000);
});
