import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh } from "../pki/test-mesh.ts";
import { startProxyProgram } from "./mesh/proxy-program.ts";
import type { LogLine, Program } from "./programs.ts";
import { createDeployment } from "./state-deployment.ts";

/**
 * What the probes of a kubelet write into the logs, on every port of the programs, and where they are counted: TCP, HTTP,
 * HTTPS and gRPC (kubernetes/pkg/probe, version 1.34), which know neither certificates nor the mesh. Each kind comes three
 * times.
 */

const PROXY = "127.103.0.1";
const TARGET = "127.103.0.2";
const COORDINATOR = "127.103.0.3";
const TIMES = 3;

/** It begins with FIN, or with RST where the answer was not read (pkg/probe/dialer_others.go). */
async function tcp(host: string, port: number, isReset: boolean): Promise<void> {
  const socket = connect(port, host).on("error", () => undefined);
  await once(socket, "connect");
  if (isReset) socket.resetAndDestroy();
  else socket.end().resume();
  await closed(socket);
}

async function http(host: string, port: number): Promise<void> {
  const socket = connect(port, host).on("error", () => undefined);
  const head = ["GET / HTTP/1.1", `Host: ${host}:${port}`, "User-Agent: kube-probe/1.34", "Accept: */*"];
  socket.resume().write(`${[...head, "Connection: close"].join("\r\n")}\r\n\r\n`);
  await closed(socket);
}

/** It takes any certificate and has none. */
async function https(host: string, port: number): Promise<void> {
  const options = { host, port, rejectUnauthorized: false, ALPNProtocols: ["h2", "http/1.1"] };
  const socket = connectTls(options).on("error", () => undefined);
  socket.resume().on("secureConnect", () => socket.end("GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"));
  await closed(socket);
}

async function grpc(host: string, port: number): Promise<void> {
  const session = connectHttp2(`http://${host}:${port}`).on("error", () => undefined);
  const headers = { ":method": "POST", ":path": "/grpc.health.v1.Health/Check", "content-type": "application/grpc" };
  const call = session.request(headers).on("error", () => undefined);
  call.resume().on("close", () => session.close());
  call.end(Buffer.alloc(5));
  if (!session.destroyed) await new Promise((resolve) => session.once("close", resolve));
}

async function closed(socket: { once: (event: "close", done: () => void) => unknown; closed: boolean }): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => void socket.once("close", resolve));
}

const KINDS = {
  TCP: async (host: string, port: number) => tcp(host, port, false),
  "TCP that resets": async (host: string, port: number) => tcp(host, port, true),
  HTTP: http,
  HTTPS: https,
  gRPC: grpc,
} as const;

const warnings = ({ log }: Program): LogLine[] => log.filter(({ level }) => !["info", "debug"].includes(level));

/** Longer than a program takes to write a line. */
const WRITTEN_MS = 150;
/** What comes within a second after the first of its kind is told of in another line: probes never come so soon. */
const APART_MS = 1_200;

type Kind = keyof typeof KINDS;

/**
 * All kinds at all ports, one after the other, and all of that a few times.
 *
 * @param targets names of ports, with hosts
 * @returns the warnings of each kind at each port, by both of their names
 */
async function probe(
  program: Program,
  targets: Readonly<Record<string, readonly [host: string, port: number]>>,
): Promise<Record<string, string[]>> {
  const told: Record<string, string[]> = {};
  for (let times = 0; times < TIMES; times++) {
    for (const [name, [host, port]] of Object.entries(targets)) {
      for (const kind of Object.keys(KINDS) as Kind[]) {
        const before = warnings(program).length;
        await KINDS[kind](host, port);
        await sleep(WRITTEN_MS);
        const lines = warnings(program).slice(before);
        (told[`${name} ${kind}`] ??= []).push(...lines.map(({ code, msg }) => `${String(code)}: ${msg}`));
        if (lines.length > 0) await sleep(APART_MS);
      }
    }
  }
  return told;
}

const sum = (metrics: string, sample: RegExp): number =>
  Array.from(metrics.matchAll(sample), ([, value]) => Number(value)).reduce((total, value) => total + value, 0);

let mesh: Mesh;
beforeAll(async () => {
  mesh = await createMesh();
});

async function application(): Promise<number> {
  const server = createServer((socket) =>
    socket
      .on("error", () => undefined)
      .end("HTTP/1.1 200 OK\r\n\r\n")
      .resume(),
  );
  server.listen(0, TARGET);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}

const ONCE = {
  "mutual HTTP": ["tls_handshake"],
  "mutual HTTPS": ["client_certificate_missing"],
  "mutual gRPC": ["tls_handshake"],
  "server only HTTP": ["tls_handshake"],
  "server only gRPC": ["tls_handshake"],
  "admin HTTPS": ["malformed_request"],
  "admin gRPC": ["malformed_request"],
} as Readonly<Record<string, string[]>>;

test("the mesh proxy warns once of probes that can't fit, never of those that fit, and counts them all", async () => {
  const ports = [await application(), await application(), await application()] as const;
  const [mutual, serverOnly, plain] = ports;
  const admin = 9_477;
  const proxy = await startProxyProgram(mesh, await mesh.issue(), {
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: TARGET,
    CONTRAST_INGRESS_PORTS: `${mutual}`,
    CONTRAST_INGRESS_PROXY_CONFIG: `web#${serverOnly}#false##open#${plain}#true`,
    CONTRAST_ADMIN_PORT: `${admin}`,
    CONTRAST_ACCESS_LOG: "1",
  });
  const told = await probe(proxy, {
    mutual: [PROXY, mutual],
    "server only": [PROXY, serverOnly],
    "passed through": [PROXY, plain],
    admin: ["127.0.0.1", admin],
  });
  for (const [name, lines] of Object.entries(told)) {
    // What one source did for one reason is told of once, whatever kind of probe it is.
    const code = ONCE[name];
    for (const line of lines) expect(`${name}: ${line}`).toContain(code?.[0] ?? "no line");
    expect(lines.length, name).toBeLessThanOrEqual(1);
  }
  const metrics = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
  const refused = (reason: string): number =>
    sum(metrics, new RegExp(`^contrast_mesh_refusals_total\\{.*reason="${reason}".*\\} (\\d+)$`, "gm"));
  expect(refused("client_gone")).toBe(2 * 2 * TIMES);
  expect(refused("tls_handshake")).toBe(2 * 2 * TIMES);
  expect(refused("client_certificate_missing")).toBe(TIMES);
  expect(sum(metrics, /^contrast_mesh_connections_total\{.*\} (\d+)$/gm)).toBe(3 * 5 * TIMES);
  await expect.poll(() => proxy.stdout().trim().split("\n").length).toBe(3 * 5 * TIMES);
}, 60_000);

test("the Coordinator warns once of probes that can't fit, never of those that fit, and counts them all", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kubelet-probes-"));
  onTestFinished(async () => rm(directory, { recursive: true }));
  const deployment = await createDeployment(directory, COORDINATOR);
  const coordinator = deployment.start(join(directory, "state"));
  onTestFinished(async () => {
    coordinator.child.kill("SIGKILL");
    await coordinator.exited;
  });
  await coordinator.line("ready");
  const ports = [1313, 7777, 9102].map((port) => [`${port}`, [COORDINATOR, port] as const]);
  const lines = await probe(coordinator, Object.fromEntries(ports));
  const told = Object.fromEntries(
    Object.entries(lines).map(([name, all]) => [name, all.map((line) => line.split(":")[0] ?? "")]),
  );
  const once = ["tls_handshake"];
  expect(told).toEqual({
    ...Object.fromEntries(Object.keys(told).map((name) => [name, []])),
    // HTTP is the first of that reason on both ports; HTTPS and gRPC follow within ten minutes.
    "1313 HTTP": once,
    "7777 HTTP": once,
    "9102 HTTPS": ["malformed_request"],
  });
  const metrics = await (await fetch(`http://${COORDINATOR}:9102/metrics`)).text();
  for (const api of ["user", "mesh"]) {
    const refused = (reason: string): number =>
      sum(
        metrics,
        new RegExp(`^contrast_connections_refused_total\\{api="${api}",reason="${reason}"\\} (\\d+)$`, "gm"),
      );
    expect(refused("closed")).toBe(2 * TIMES);
    expect(refused("tls_handshake")).toBe(3 * TIMES);
  }
}, 60_000);
