import type { Socket } from "node:net";
import { type Methods, serveCalls } from "../../api/grpc-server.ts";
import { toStatus } from "../../channel/rejection.ts";
import { cannotListen } from "../../channel/error.ts";
import { peerAddress } from "../../channel/tls.ts";
import { answerOne, type HttpRequest, type HttpResponse } from "../../runtime/http-request.ts";
import { listenOnMany } from "../../runtime/listeners.ts";
import type { Logger } from "../../runtime/log.ts";
import { NewestConnections } from "../../runtime/newest-connections.ts";
import { RefusalLog } from "../../runtime/refusal-log.ts";
import { sourceOf } from "../../runtime/source.ts";

/**
 * One plain-text port for two protocols: HTTP/1.1 for probes and metrics, HTTP/2 without TLS for gRPC health checks. A
 * client of HTTP/2 begins with a preface that no request of HTTP/1.1 can begin with (RFC 9113 §3.4).
 *
 * Anybody may connect. A probe takes milliseconds, so a connection of HTTP/1.1 ends after one answer and a few seconds,
 * and where there are too many connections the oldest one goes: idle peers can't keep the kubelet out.
 */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Of the head of a request of HTTP/1.1. */
const MOST_BYTES = 4096;

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
  /** Answers requests of HTTP/1.1. */
  readonly http: (request: HttpRequest) => Promise<HttpResponse>;
  /** What may be called over HTTP/2. */
  readonly methods: Methods;
  readonly limits: ProbeLimits;
  readonly log: Logger;
}

/** @throws ChannelError `address_unavailable` */
export async function listenForProbes(
  { http, methods, limits, log }: ProbePortOptions,
  port: number,
  address: string | undefined,
): Promise<ProbePort> {
  const calls = { ...limits, toStatus, requestBytes: 0, reserve: () => undefined };
  const refusals = new RefusalLog(log);
  const open = new NewestConnections(limits.connections, limits.requestMs);
  const accept = (socket: Socket): void => {
    const liftTimeLimit = open.add(socket);
    // Now, because a connection that is gone can't say any more where it came from.
    const peer = peerAddress(socket);
    const source = socket.remoteAddress === undefined ? "?" : sourceOf(socket.remoteAddress);
    // Without a listener an error of one connection would end the process.
    socket.on("error", () => undefined);
    readProtocol(socket, (isHttp2, seen) => {
      if (isHttp2) {
        liftTimeLimit();
        socket.unshift(seen);
        serveCalls(socket, methods, calls);
      } else {
        answerOne(socket, {
          seen,
          mostBytes: MOST_BYTES,
          answer: http,
          refused: (reason) => refusals.write({ code: "malformed_request", peer, source }, reason),
        });
      }
    });
  };
  // Half open: a peer that has sent its request and says so still waits for the answer.
  const options = { allowHalfOpen: true, noDelay: true };
  const listeners = await listenOnMany({ port, host: address }, options, accept).catch((cause: unknown) => {
    throw cannotListen(port, address, cause);
  });
  return {
    port: listeners.port,
    close() {
      void listeners.close();
      open.destroyAll();
    },
  };
}

/** Looks at the first bytes, up to those that decide. */
function readProtocol(socket: Socket, decided: (isHttp2: boolean, seen: Buffer) => void): void {
  let seen = Buffer.alloc(0);
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    const isPreface = PREFACE.subarray(0, seen.length).equals(seen.subarray(0, PREFACE.length));
    if (isPreface && seen.length < PREFACE.length) return;
    socket.off("readable", look);
    socket.off("end", end);
    decided(isPreface, seen);
  };
  const end = (): void => void socket.destroy();
  socket.on("readable", look);
  socket.on("end", end);
}
