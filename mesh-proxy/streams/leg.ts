import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { MeshProxyError } from "../faults.ts";

/** One side of a proxied connection. */
export interface Leg {
  /** Where plain bytes are read and written: the transport itself, or TLS on it. */
  readonly stream: Socket;
  /** The TCP connection. */
  readonly transport: Socket;
}

/** Both sides: downstream is the peer that connected to the proxy, upstream the peer that the proxy connected to. */
export interface Legs {
  readonly downstream: Leg;
  readonly upstream: Leg;
  /** Of an upstream in the mesh: TLS that was resumed does not tell it. */
  readonly upstreamCertificate?: X509Certificate | undefined;
}

/** As Node 26 has it; its types don't say so yet. An older one leaves interval and count to the kernel. */
interface Probing {
  setKeepAlive(enable: boolean, initialDelayMs: number, intervalMs: number, count: number): unknown;
}

/**
 * Sets up a TCP connection: small messages don't wait, and a peer that vanished is noticed, after a minute of silence and
 * three probes. No silence is too long for a peer that is there.
 */
export function tuneTransport(transport: Socket): void {
  transport.setNoDelay(true);
  const probing: Probing = transport;
  probing.setKeepAlive(true, 60_000, 10_000, 3);
}

/**
 * For a connection whose peer has ended its direction: whoever closed it looks the same as whoever waits for an answer. The
 * kernel of one that closed it answers no more probes after a minute (tcp_fin_timeout in tcp(7)).
 */
export function probeSooner(transport: Socket): void {
  const probing: Probing = transport;
  probing.setKeepAlive(true, 15_000, 5_000, 3);
}

/** How long a connection may take to be made, and then a handshake to be done; a slow peer can't hold it for longer. */
export const DEADLINE_MS = 10_000;

/**
 * Listens for errors that are dealt with when the connection closes: without a listener they would end the process. One
 * function for all, because every connection keeps its listeners for as long as it is open.
 */
export const ignore = (): void => {};

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
 * Waits for `work` for no longer than the deadline and `downstream`, the connection it is done for, live.
 *
 * @throws what `work` throws or `late` makes, or MeshProxyError `client_gone`; the work itself goes on
 */
export async function whileWaited<T>(
  downstream: Socket,
  late: () => MeshProxyError,
  work: Promise<T>,
  deadlineMs: number = DEADLINE_MS,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const giveUp = (): void => {
    reject(new MeshProxyError("client_gone", "the client closed the connection before it was made"));
  };
  const timer = setTimeout(() => reject(late()), deadlineMs);
  downstream.on("close", giveUp);
  if (downstream.destroyed) giveUp();
  work.then(resolve, reject);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    downstream.off("close", giveUp);
  }
}

/**
 * Waits until a socket of the proxy is connected or secure.
 *
 * @throws as `whileWaited`, and what `failed` makes; the socket is then destroyed
 */
export async function established(
  socket: Socket,
  event: "connect" | "secureConnect",
  downstream: Socket,
  errors: { readonly failed: (error: Error) => MeshProxyError; readonly late: () => MeshProxyError },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const failed = (error: Error): void => reject(errors.failed(error));
  const closed = (): void => failed(new Error("closed"));
  // Also of an error that comes after this function.
  socket.on("error", ignore);
  socket.on(event, resolve).on("error", failed).on("close", closed);
  if (socket.destroyed) closed();
  try {
    await whileWaited(downstream, errors.late, promise);
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    socket.off(event, resolve).off("error", failed).off("close", closed);
  }
}
