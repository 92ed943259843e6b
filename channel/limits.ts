import { Refusal } from "../api/refusal.ts";
import type { Duplex } from "node:stream";
import type { KeyedSemaphore, SemaphoreLimits } from "../runtime/keyed-semaphore.ts";
import { whileConnected } from "./while-connected.ts";

/** What a server of the attested channel gives to its peers. A peer is a source address; see `sourceOf`. */
export interface ChannelLimits {
  /** For the first message of TLS, for the handshake, and for the exchange, each, in milliseconds. */
  readonly handshakeMs: number;
  /** For a request to be complete, and for each piece of an answer to be read, in milliseconds. */
  readonly requestMs: number;
  /** A connection without a call is closed after this, in milliseconds. */
  readonly idleMs: number;
  /** No connection lives longer than this, in milliseconds. */
  readonly ageMs: number;
  /** Who keeps the server waiting for longer than this has to go where others need the room, in milliseconds. */
  readonly patienceMs: number;
  /** The largest hello, in bytes. */
  readonly helloBytes: number;
  /** Open connections, those included that wait for a place. Each costs `WAITING_BYTES`. */
  readonly connections: SemaphoreLimits;
  /** Connections that TLS knows, whatever their peers do with them. Each costs `CONNECTION_BYTES`. */
  readonly places: SemaphoreLimits;
  /** The same, of peers who have an account: by that and not by their address. Nobody else can have these. */
  readonly reserved: SemaphoreLimits;
  /** Evidence that is verified or made. Mostly that is done at once; it is not where a vendor has to be asked. */
  readonly appraisals: SemaphoreLimits;
}

/** A socket, what Node keeps of it, and the first message of TLS: at most 8 KiB. */
export const WAITING_BYTES = 16 * 1024;

/**
 * What a connection can cost at most, in one state or another, beside large requests. Measured on Node 26, in KiB: TLS 47,
 * a second ClientHello 129, HTTP/2 20, a hello 128, two small requests with their headers 24, a piece of an answer, of
 * which TLS and the kernel each have a copy, 48, what the kernel keeps while nothing is read 64.
 */
export const CONNECTION_BYTES = 256 * 1024;

/** The usual time that one who waits takes: an estimate on the slow side, in milliseconds. */
const TURN_MS = 10;

/**
 * Waits for room.
 *
 * @returns what gives it free
 * @throws Refusal `overloaded`; ChannelError where the peer went away
 */
export async function enter(gate: KeyedSemaphore, source: string, socket: Duplex): Promise<() => void> {
  let isInside = false;
  let onEntered = (): void => undefined;
  const leave = gate.enter(source, () => {
    isInside = true;
    onEntered();
  });
  if (leave === undefined) {
    const retryAfterMs = 1000 + gate.waiting * TURN_MS;
    const hint = `try again in ${Math.ceil(retryAfterMs / 1000)} s`;
    throw new Refusal("overloaded", "too much is asked of the Coordinator at once", { hint, retryAfterMs });
  }
  // Mostly there is room at once, and nobody has to be watched while he waits.
  if (isInside) return leave;
  const entered = new Promise<void>((resolve) => (onEntered = resolve));
  try {
    await whileConnected(socket, () => entered);
    return leave;
  } catch (error) {
    leave();
    throw error;
  }
}
