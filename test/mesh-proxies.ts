import dns from "node:dns";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { Writable } from "node:stream";
import { promisify } from "node:util";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import type { AccessEntry } from "../mesh-proxy/observe/access-log.ts";
import { constraints, variables } from "../mesh-proxy/configuration.ts";
import { LiveCredentials } from "../mesh-proxy/credentials/live-credentials.ts";
import type { Lookup } from "../mesh-proxy/names.ts";
import type { EngineName } from "../mesh-proxy/observe/metrics.ts";
import { startNative } from "../mesh-proxy/native/start.ts";
import { plansOf } from "../mesh-proxy/plan.ts";
import { startStreams } from "../mesh-proxy/streams/start.ts";
import type { Telemetry } from "../mesh-proxy/streams/telemetry.ts";
import type { Observation } from "../mesh-proxy/observation.ts";
import { readEnvironment } from "../runtime/environment.ts";
import { type Mesh, type Workload, writeTlsConfig } from "../pki/test-mesh.ts";
import { ENGINE } from "./ways.ts";

/**
 * Mesh proxies, and the applications and clients around them, for tests: real sockets on loopback. Everything is closed
 * when the test is over.
 */

export type LogLine = Readonly<Record<string, unknown>>;

export interface StartedProxy {
  /** Of its log; lines are added as they come. */
  readonly lines: LogLine[];
  /** The folder of its certificates. */
  readonly folder: string;
  readonly credentials: LiveCredentials;
  readonly telemetry: Observation;
  /** More of the engine `streams`; undefined of the other one. */
  readonly streams: Telemetry | undefined;
  /** Lines of its access log, if it has one. */
  readonly accessed: AccessLine[];
}

type AccessLine = AccessEntry & { readonly time: string };

/** How a mesh proxy of a test differs from one of the program. */
export interface ProxyOptions {
  readonly now?: () => Date;
  readonly lookup?: Lookup;
  readonly memoryInUse?: () => number | undefined;
  /** In place of the one that the tests run through. */
  readonly engine?: EngineName;
  /** Of the native engine, whose clock can't be moved. */
  readonly upstreamMs?: number;
}

/** Starts a mesh proxy in this process. It looks at its certificates again only when it is told to. */
export async function startLiveProxy(
  mesh: Mesh,
  workload: Workload,
  environment: Readonly<Record<string, string>>,
  {
    now = () => new Date(),
    lookup = lookupByNode,
    memoryInUse = () => undefined,
    engine = ENGINE,
    upstreamMs,
  }: ProxyOptions = {},
): Promise<StartedProxy> {
  const configuration = readEnvironment(variables, environment, constraints);
  const folder = await writeTlsConfig(mesh, workload);
  onTestFinished(async () => rm(folder, { recursive: true }));
  const lines: LogLine[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) });
  const credentials = await LiveCredentials.open(folder, log, now);
  const accessed: AccessLine[] = [];
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, written) {
      accessed.push(
        ...chunk
          .toString()
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line) as AccessLine),
      );
      written();
    },
  });
  const options = {
    credentials,
    descriptors: undefined,
    memory: configuration.CONTRAST_MEMORY_LIMIT ?? 2 ** 40,
    memoryInUse,
    stdout,
    log,
    lookup,
    now,
    clock: () => performance.now(),
    ...(upstreamMs === undefined ? {} : { upstreamMs }),
  };
  const native = engine === "native" ? startNative(configuration, options) : undefined;
  const streams = native === undefined ? await startStreams(configuration, options) : undefined;
  const started = native ?? streams;
  if (started === undefined) throw new Error("one of the engines is started");
  const { proxy, observation } = started;
  onTestFinished(async () => void (await proxy.close(0)));
  await proxy.open(plansOf(configuration));
  return { lines, folder, credentials, telemetry: observation, streams: streams?.observation, accessed };
}

/** The variables of a proxy that listens at an address of its own, and leads to the application's ports of the same number. */
export function bindIngress(address: string, application: string, ...ports: readonly number[]): Record<string, string> {
  return {
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: address,
    CONTRAST_INGRESS_TARGET: application,
    CONTRAST_INGRESS_PORTS: ports.join(","),
  };
}

/** @returns the lines of its log, to which lines are added as they come */
export async function startProxy(
  mesh: Mesh,
  workload: Workload,
  environment: Readonly<Record<string, string>>,
  now?: () => Date,
): Promise<LogLine[]> {
  const options = now === undefined ? {} : { now };
  return (await startLiveProxy(mesh, workload, environment, options)).lines;
}

async function lookupByNode(host: string): Promise<dns.LookupAddress[]> {
  return promisify(dns.lookup)(host, { all: true });
}

/** Starts an application, or whatever else accepts TCP connections. */
export async function startServer(
  host: string,
  accept: (socket: Socket) => void,
  server: Server = createServer({ allowHalfOpen: true }),
): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  const event = "setSecureContext" in server ? "secureConnection" : "connection";
  server.on(event, (socket: Socket) => {
    socket.on("error", () => {});
    accept(socket);
  });
  server.listen(0, host);
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/**
 * A port of an address where nothing listens. It is below those that the kernel gives to clients and to listeners on port
 * 0 (ip_local_port_range), so that hardly anybody takes it until it is used.
 */
export async function freePort(host: string): Promise<number> {
  for (;;) {
    const server = createServer().listen(randomInt(10_000, 32_000), host);
    try {
      await once(server, "listening");
    } catch {
      continue;
    }
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    return port;
  }
}

export function connectPlain(host: string, port: number, localAddress?: string): Socket {
  const from = localAddress === undefined ? {} : { localAddress };
  return closedAfterTest(connectTcp({ host, port, allowHalfOpen: true, ...from }));
}

/** Whether somebody listens there. */
export async function isListening(host: string, port: number): Promise<boolean> {
  const socket = connectPlain(host, port);
  const connected = await Promise.race([once(socket, "connect"), once(socket, "close").then(() => undefined)]);
  socket.destroy();
  return connected !== undefined;
}

/** A TLS client that believes the mesh CA and shows the workload's certificate if there is one. */
export function connectSecurely(
  { meshCa }: Mesh,
  workload: Workload | undefined,
  options: ConnectionOptions & { readonly localAddress?: string },
): TLSSocket {
  const certificate = workload === undefined ? {} : { cert: workload.certChain, key: workload.key };
  // Node's types don't know that allowHalfOpen is an option here too.
  const common = { ca: meshCa, allowHalfOpen: true, checkServerIdentity: () => undefined };
  return closedAfterTest(connectTls({ ...common, ...certificate, ...options }));
}

function closedAfterTest<S extends Socket>(socket: S): S {
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  return socket;
}

/** Everything that a socket receives until the peer ends it cleanly; an error where it does not. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The code of the error that closes a socket, or "clean". */
export async function ending(socket: Socket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let end = "clean";
  socket.on("error", (error: NodeJS.ErrnoException) => (end = error.code ?? error.message));
  socket.once("close", () => resolve(end));
  socket.resume();
  socket.once("end", () => socket.end());
  return promise;
}

/** A level of pino's. */
const DEBUG = 20;

/** The log's lines of refused and broken connections, without the refusals that are only counted in another line. */
export function refusals(lines: readonly LogLine[]): LogLine[] {
  const isCounted = ({ level, msg }: LogLine): boolean =>
    level === DEBUG && String(msg).startsWith("connection refused");
  return lines.filter((line) => "code" in line && !isCounted(line));
}
