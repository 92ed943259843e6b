import { connect, type Socket } from "node:net";
import { formatEndpoint, type Endpoint } from "../mesh-rules/endpoint.ts";
import { MeshProxyError, reason } from "./errors.ts";

/** One side of a proxied connection. */
export interface Leg {
  /** Where plain bytes are read and written: the transport itself, or TLS on it. */
  readonly stream: Socket;
  /** The TCP connection. */
  readonly transport: Socket;
}

/** Both sides: near the peer that connected to the proxy, far the peer that the proxy connected to. */
export interface Legs {
  readonly near: Leg;
  readonly far: Leg;
}

/** How every TCP connection is set up: small messages don't wait, and a peer that vanished is noticed. */
export const TRANSPORT = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 } as const;

/** How long a connection may take to be made, and then a handshake to be done; a slow peer can't hold it for longer. */
export const DEADLINE_MS = 10_000;

/** A leg without TLS. */
export function plainLeg(transport: Socket): Leg {
  return { stream: transport, transport };
}

/**
 * Ends a connection so that the peer can't take it for a clean end: with a reset. (The end of a TLS connection without
 * its closing alert passes for a clean one with many peers, Node's own among them.)
 */
export function reset({ stream, transport }: Leg): void {
  if (transport.destroyed) return;
  // While a shutdown is under way libuv refuses a reset, and Node then never closes the connection. All has been sent
  // by then, so that a clean end is the truth.
  const isEnding = stream.writableEnded && stream.writableLength === 0 && !stream.writableFinished;
  if (transport.connecting || isEnding) transport.destroy();
  else transport.resetAndDestroy();
}

/**
 * Connects to where `near`, the connection that the proxy accepted, has to go.
 *
 * @throws MeshProxyError `upstream_refused`, `upstream_timeout` or `client_gone`
 */
export async function dial(to: Endpoint, near: Socket): Promise<Socket> {
  const far = connect({ ...to, ...TRANSPORT, allowHalfOpen: true });
  const where = formatEndpoint(to);
  await established(far, "connect", near, {
    failed: (error) =>
      new MeshProxyError("upstream_refused", "can't connect to the upstream", {
        where,
        got: reason(error),
        hint: "does it listen there, and does its name resolve to it?",
        cause: error,
      }),
    late: () =>
      new MeshProxyError("upstream_timeout", "the upstream does not answer", {
        where,
        got: `nothing for ${DEADLINE_MS} ms`,
      }),
  });
  return far;
}

/**
 * Waits until a socket of the proxy is connected or secure, for no longer than the deadline and `near` live.
 *
 * @throws what `failed` or `late` make, or MeshProxyError `client_gone`; the socket is then destroyed
 */
export async function established(
  socket: Socket,
  event: "connect" | "secureConnect",
  near: Socket,
  errors: { readonly failed: (error: Error) => MeshProxyError; readonly late: () => MeshProxyError },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const giveUp = (): void => {
    reject(new MeshProxyError("client_gone", "the client closed the connection before it was made"));
  };
  const closed = (): void => reject(errors.failed(new Error("closed")));
  const timer = setTimeout(() => reject(errors.late()), DEADLINE_MS);
  socket.once(event, resolve);
  // The listener stays: an error that comes after this function must not end the process.
  socket.on("error", (error) => reject(errors.failed(error)));
  socket.once("close", closed);
  near.once("close", giveUp);
  if (near.destroyed) giveUp();
  try {
    await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    socket.off("close", closed);
    near.off("close", giveUp);
  }
}
