import { create, type MessageShape } from "@bufbuild/protobuf";
import { Client, type ClientReadableStream, credentials, Metadata, status } from "@grpc/grpc-js";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { callUnary, definition } from "../../api/grpc.ts";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  type HealthCheckResponseSchema,
} from "../../api/health_pb.ts";
import { createLogger } from "../../runtime/log.ts";
import { healthMethods } from "./health.ts";
import { Metrics, type ObservedState } from "../observe/metrics.ts";
import { listenForProbes, type ProbeLimits, type ProbePort } from "./probe-port.ts";
import { createProbes } from "./probes.ts";
import type { Phase as PhaseName } from "../state/phase.ts";

/** Real connections of both protocols and of none; of the state there is only its name. */

const ADDRESS = "127.91.0.1";
const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;
const log = createLogger({ program: "test", level: "error", format: "json", isTerminal: false, colour: false });

class Phase {
  phase: PhaseName = "empty";
  missingShares: number | undefined;
  readonly listeners = new Set<() => void>();

  active(): ReturnType<ObservedState["active"]> {
    const validity = { notBefore: new Date(0), notAfter: new Date("2036-01-01") };
    return { generation: 3, previousMeshes: [], authority: { validity, certificateLifetimeMs: 3_600_000 } };
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  become(phase: PhaseName): void {
    this.phase = phase;
    for (const listener of this.listeners) listener();
  }
}

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function start(changes: Partial<ProbeLimits> = {}): Promise<{ port: ProbePort; state: Phase; url: string }> {
  const state = new Phase();
  const limits = { connections: 16, requestMs: 5000, idleMs: 5000, ageMs: 60_000, ...changes };
  const metrics = new Metrics(state, () => new Date());
  const http = createProbes(state, metrics.registry, log);
  const port = await listenForProbes({ http, methods: healthMethods(state), limits, log }, 0, ADDRESS);
  ends.push(() => port.close());
  return { port, state, url: `http://${ADDRESS}:${port.port}` };
}

function client(port: ProbePort): Client {
  const made = new Client(`${ADDRESS}:${port.port}`, credentials.createInsecure());
  ends.push(() => made.close());
  return made;
}

async function check(asker: Client, service: string): Promise<number> {
  return (await callUnary(asker, Health.method.check, { service }, new Date(Date.now() + 5000))).status;
}

function watch(asker: Client, service: string): ClientReadableStream<MessageShape<typeof HealthCheckResponseSchema>> {
  const { path, requestSerialize, responseDeserialize } = definition(Health, Health.method.watch);
  const request = create(HealthCheckRequestSchema, { service });
  const call = asker.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, new Metadata());
  call.on("error", () => undefined);
  return call as ClientReadableStream<MessageShape<typeof HealthCheckResponseSchema>>;
}

async function open(port: ProbePort, localAddress?: string): Promise<Socket> {
  const socket = connect({ port: port.port, host: ADDRESS, localAddress });
  socket.on("error", () => undefined);
  ends.push(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

async function everything(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  await once(socket, "close");
  return text;
}

test("the user API serves in every state, the mesh API and the whole only with a manifest in force", async () => {
  const { port, state } = await start();
  const asker = client(port);
  for (const phase of ["empty", "recovery"] as const) {
    state.become(phase);
    expect(await check(asker, "")).toBe(NOT_SERVING);
    expect(await check(asker, "meshapi.MeshAPI")).toBe(NOT_SERVING);
    expect(await check(asker, "userapi.UserAPI")).toBe(SERVING);
  }
  state.become("active");
  for (const service of ["", "meshapi.MeshAPI", "userapi.UserAPI"]) expect(await check(asker, service)).toBe(SERVING);
  await expect(check(asker, "meshapi.Other")).rejects.toMatchObject({ code: status.NOT_FOUND });
});

test("a watcher is told the status, its changes, and nothing twice; when it goes nothing is left of it", async () => {
  const { port, state } = await start();
  const call = watch(client(port), "");
  const next = async (): Promise<number> => ((await once(call, "data")) as [{ status: number }])[0].status;
  expect(await next()).toBe(NOT_SERVING);
  state.become("recovery");
  state.become("active");
  expect(await next()).toBe(SERVING);
  expect(state.listeners.size).toBe(1);
  call.cancel();
  await expect.poll(() => state.listeners.size).toBe(0);

  const unknown = watch(client(port), "nobody");
  expect(((await once(unknown, "data")) as [{ status: number }])[0].status).toBe(SERVICE_UNKNOWN);
});

test("HTTP/1.1 has its probes and metrics on the same port", async () => {
  const { state, url } = await start();
  expect((await fetch(`${url}/probe/startup`)).status).toBe(200);
  expect((await fetch(`${url}/probe/liveness`)).status).toBe(200);
  const early = await fetch(`${url}/probe/readiness`);
  expect([early.status, await early.text()]).toEqual([503, "empty\n"]);
  state.become("recovery");
  state.missingShares = 2;
  expect(await (await fetch(`${url}/probe/readiness`)).text()).toBe("recovery, 2 more seed shares needed\n");
  state.become("active");
  expect((await fetch(`${url}/probe/readiness`)).status).toBe(200);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(metrics).toMatch(/^contrast_coordinator_state\{phase="active"\} 1$/m);
  expect(metrics).toMatch(/^contrast_coordinator_state\{phase="empty"\} 0$/m);
  expect(metrics).toMatch(/^contrast_coordinator_manifest_generation 3$/m);
  expect(metrics).toMatch(/^contrast_coordinator_certificate_lifetime_seconds 3600$/m);
  expect(metrics).toMatch(/^contrast_coordinator_mesh_ca_expiry_timestamp_seconds 2082758400$/m);
  expect((await fetch(`${url}/probe/readiness`, { method: "POST" })).status).toBe(405);
  expect((await fetch(`${url}/other`)).status).toBe(404);
});

test("curl takes gRPC health checks for HTTP/2 without TLS", async () => {
  const { url, state } = await start();
  state.become("active");
  const request = ["--data-binary", "@-", "-H", "content-type: application/grpc", "-H", "te: trailers"];
  const run = promisify(execFile)(
    "curl",
    ["-sS", "-i", "--max-time", "5", "--http2-prior-knowledge", ...request, `${url}/grpc.health.v1.Health/Check`],
    { encoding: "latin1" },
  );
  run.child.stdin?.end(Buffer.alloc(5));
  const { stdout } = await run;
  expect(stdout).toMatch(/^HTTP\/2 200/);
  expect(stdout).toContain("grpc-status: 0");
  expect(stdout).toContain("\x00\x00\x00\x00\x02\x08\x01");
});

test.each([
  ["HTTP/1.1", "GET /probe/liveness HTTP/1.1\r\nhost: a\r\n\r\n", /^HTTP\/1\.1 200/],
  ["a preface with one wrong byte", "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", /^(HTTP\/1\.1 400.*)?$/s],
  ["garbage", "\x16\x03\x01\x02\x00\x01\x00", /^(HTTP\/1\.1 400.*)?$/s],
])("%s that comes byte by byte gets its answer, and then the end", async (_name, text, answer) => {
  const { port } = await start();
  const socket = await open(port);
  const answered = everything(socket);
  for (const byte of text) {
    if (socket.destroyed) break;
    await new Promise((resolve) => socket.write(byte, "latin1", resolve));
  }
  expect(await answered).toMatch(answer);
});

test("a request whose sender is done sending is answered", async () => {
  const { port } = await start();
  const socket = await open(port);
  socket.end("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
  expect(await everything(socket)).toMatch(/^HTTP\/1\.1 200[^]*contrast_coordinator_state/);
});

test.each([
  ["says nothing", ""],
  ["stops in the preface", "PRI * HT"],
  ["stops in a request", "GET /probe/liveness HTTP/1.1\r\nhost: "],
  ["says no more than the preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
])("a peer that %s loses its connection after a while", async (_name, text) => {
  const { port } = await start({ requestMs: 300, idleMs: 300 });
  const socket = await open(port);
  socket.write(text);
  const begin = performance.now();
  await everything(socket);
  expect(performance.now() - begin).toBeGreaterThan(200);
});

test("a peer that hangs up in the preface is forgotten at once", async () => {
  const { port } = await start({ requestMs: 60_000 });
  const socket = await open(port);
  socket.end("PRI * HT");
  expect(await everything(socket)).toBe("");
});

test("idle connections make way for a probe", async () => {
  const { port, url } = await start({ connections: 4 });
  const idle = await Promise.all(Array.from({ length: 12 }, () => open(port)));
  for (const socket of idle) socket.resume();
  const stillOpen = (): number => idle.filter((socket) => !socket.destroyed).length;
  // All have been accepted, in whatever order: the port has several sockets.
  await expect.poll(stillOpen).toBe(4);
  expect((await fetch(`${url}/probe/liveness`)).status).toBe(200);
  await expect.poll(stillOpen).toBe(3);
});

test("a flood of connections from one address takes no place from a probe of another", async () => {
  const { port } = await start({ connections: 8 });
  const probe = await open(port, "127.91.0.2");
  const answered = everything(probe);
  probe.write("GET /probe/liveness HTTP/1.1\r\n");
  const flood = await Promise.all(Array.from({ length: 50 }, () => open(port, "127.91.0.3")));
  for (const socket of flood) socket.resume();
  await expect.poll(() => flood.filter((socket) => !socket.destroyed).length).toBe(7);
  probe.write("host: a\r\n\r\n");
  expect(await answered).toMatch(/^HTTP\/1\.1 200/);
});
