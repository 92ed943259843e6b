import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Server as HttpServer } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { cannotListen } from "../channel/error.ts";
import { NewestConnections } from "../runtime/newest-connections.ts";

/**
 * One plain-text port for two protocols: HTTP/1.1 for probes and metrics, HTTP/2 without TLS for gRPC health checks. A
 * client of HTTP/2 begins with a preface that no request of HTTP/1.1 can begin with (RFC 9113 §3.4).
 *
 * Anybody may connect. A probe takes milliseconds, so a connection of HTTP/1.1 ends after one answer and a few seconds,
 * and where there are too many connections the oldest one goes: idle peers can't keep the kubelet out.
 */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export interface ProbeLimits {
  readonly connections: number;
  /** From the first byte to the end of an answer of HTTP/1.1, or to the end of the preface, in milliseconds. */
  readonly requestMs: number;
  /** HTTP/2: without a call, and at all, in milliseconds. */
  readonly idleMs: number;
  readonly ageMs: number;
}

export interface ProbePort {
  readonly port: number;
  close(): void;
}

export interface ProbePortOptions {
  readonly http: HttpServer;
  /** Adds the services for HTTP/2. */
  readonly serve: (server: Server) => void;
  readonly limits: ProbeLimits;
}

/** @throws ChannelError `address_unavailable` */
export async function listenForProbes(
  { http, serve, limits }: ProbePortOptions,
  port: number,
  address: string | undefined,
): Promise<ProbePort> {
  const grpc = new Server({
    "grpc.max_connection_idle_ms": limits.idleMs,
    "grpc.max_connection_age_ms": limits.ageMs,
    "grpc.max_connection_age_grace_ms": limits.requestMs,
    "grpc.max_receive_message_length": 4096,
    "grpc.max_concurrent_streams": 4,
    // For each connection, in MB; without it grpc-js takes all there is.
    "grpc-node.max_session_memory": 1,
    "grpc.enable_channelz": 0,
  });
  serve(grpc);
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const open = new NewestConnections(limits.connections, limits.requestMs);
  // Half open: a peer that has sent its request and says so still waits for the answer.
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const liftTimeLimit = open.add(socket);
    // Without a listener an error of one connection would end the process.
    socket.on("error", () => undefined);
    readProtocol(socket, (isHttp2) => {
      if (isHttp2) {
        liftTimeLimit();
        injector.injectConnection(socket);
      } else {
        http.emit("connection", socket);
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    // Not once: whatever happens later to a single connection must not end the process.
    listener.on("error", (cause) => reject(cannotListen(port, address, cause)));
    listener.listen({ port, host: address }, resolve);
  });
  return {
    port: (listener.address() as AddressInfo).port,
    close() {
      listener.close();
      open.destroyAll();
      grpc.forceShutdown();
    },
  };
}

/** Looks at the first bytes, up to those that decide, and puts them back. */
function readProtocol(socket: Socket, decided: (isHttp2: boolean) => void): void {
  let seen = Buffer.alloc(0);
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    const isPreface = PREFACE.subarray(0, seen.length).equals(seen.subarray(0, PREFACE.length));
    if (isPreface && seen.length < PREFACE.length) return;
    socket.off("readable", look);
    socket.off("end", end);
    socket.unshift(seen);
    decided(isPreface);
  };
  const end = (): void => void socket.destroy();
  socket.on("readable", look);
  socket.on("end", end);
}
