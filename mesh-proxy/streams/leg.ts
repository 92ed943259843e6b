import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import type { Wire } from "./tls/wire.ts";

/** One side of a proxied connection. */
export interface Leg {
  /** Where plain bytes are read and written: the transport itself, or TLS on it. */
  readonly stream: Socket;
  /** The TCP connection. */
  readonly transport: Socket;
  /** What lies between the two, where there is TLS. */
  readonly wire?: Wire;
}

/** Both sides: downstream is the peer that connected to the proxy, upstream the peer that the proxy connected to. */
export interface Legs {
  readonly downstream: Leg;
  readonly upstream: Leg;
  /** Of an upstream in the mesh: TLS that was resumed does not tell it. */
  readonly upstreamCertificate?: X509Certificate | undefined;
}

/** A leg without TLS. */
export function plainLeg(transport: Socket): Leg {
  return { stream: transport, transport };
}

/** How many bytes have come and were not taken yet. */
export function unread({ stream, transport, wire }: Leg): number {
  if (wire === undefined) return stream.readableLength;
  // What a transport had when it was destroyed, nobody gets.
  return stream.readableLength + wire.readableLength + (transport.destroyed ? 0 : transport.readableLength);
}

/**
 * Ends a connection so that the peer can't take it for a clean end: with a reset. (The end of a TLS connection without
 * its closing alert passes for a clean one with many peers, Node's own among them.)
 */
export function reset({ stream, transport }: Leg): void {
  if (!transport.destroyed) {
    // While a shutdown is under way libuv refuses a reset, and Node then never closes the connection. All has been sent
    // by then, so that a clean end is the truth.
    const isEnding = transport.writableEnded && transport.writableLength === 0 && !transport.writableFinished;
    if (transport.connecting || isEnding) transport.destroy();
    else transport.resetAndDestroy();
  }
  stream.destroy();
}
