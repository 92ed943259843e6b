import { Refusal } from "../api/refusal.ts";
import type { Duplex } from "node:stream";
import type { Gate, GateLimits } from "../runtime/gate.ts";
import { whileConnected } from "./while-connected.ts";

/** What a server of the attested channel gives to its peers. A peer is a source address; see `sourceOf`. */
export interface ChannelLimits {
  /** For the TLS handshake, and again for the exchange, in milliseconds. */
  readonly handshakeMs: number;
  /** A connection without a call is closed after this, in milliseconds. */
  readonly idleMs: number;
  /** No connection lives longer than this, in milliseconds. */
  readonly ageMs: number;
  /** The largest gRPC message, in bytes. */
  readonly messageBytes: number;
  /** Open connections, those included that wait for anything below. */
  readonly connections: GateLimits;
  /** TLS handshakes under way. Who waits here costs a socket and nothing of TLS. */
  readonly handshakes: GateLimits;
  /** Messages of the exchange above `LARGE_MESSAGE`, from their announcement to the answer. */
  readonly largeMessages: GateLimits;
  /** Evidence that is verified or made. Mostly that is done at once; it is not where a vendor has to be asked. */
  readonly appraisals: GateLimits;
}

/** Evidence of SNP has 6 KiB, evidence of TDX with its collateral about 40 KiB. */
export const LARGE_MESSAGE = 64 * 1024;

/** The usual time that one who waits takes: an estimate on the slow side, in milliseconds. */
const TURN_MS = 10;

/**
 * Waits for room.
 *
 * @returns what gives it free
 * @throws Refusal `overloaded`; ChannelError where the peer went away
 */
export function enter(gate: Gate, source: string, socket: Duplex): Promise<() => void> {
  return whileConnected(
    socket,
    (abandoned) =>
      new Promise((resolve, reject) => {
        const leave = gate.enter(source, () => resolve(() => leave?.()));
        if (leave !== undefined) {
          abandoned.addEventListener("abort", leave);
          return;
        }
        const retryAfterMs = 1000 + gate.waiting * TURN_MS;
        const hint = `try again in ${Math.ceil(retryAfterMs / 1000)} s`;
        reject(new Refusal("overloaded", "too much is asked of the Coordinator at once", { hint, retryAfterMs }));
      }),
  );
}
