import type { MeshProxyError } from "../../faults.ts";
import type { HeldBytes } from "../limits/held-bytes.ts";
import type { Legs } from "../leg.ts";

/**
 * What carries the bytes of a connection from when both of its legs are there to its end. Whatever does it:
 *
 * - What comes in on one leg goes out on the other, unchanged and in order. Each direction ends by itself, after its last
 *   byte.
 * - Of a leg that breaks, the other one is reset, after all that the broken one had said. The end of TCP under TLS without the
 *   peer's closing alert is no end, but a break. Bytes that a leg does not take don't break it while it has something to say.
 * - A peer that is gone is noticed also while nobody reads its leg.
 * - A sender stands still before 256 KiB wait for the other side. What waits is told to `heldBytes`, which may end it.
 */
export interface DataPath {
  /** @param legs established, and read by nobody */
  readonly join: (legs: Legs, options: JoinOptions) => Splice;
}

export interface JoinOptions {
  readonly heldBytes: HeldBytes;
  /** Whose bytes they are. */
  readonly source: string;
  /** Is counted up. */
  readonly carried: Carried;
  /**
   * Called once: both connections have ended cleanly; or with `connection_broken` or `tls_alert` one broke, and the other
   * one is about to end; or with `too_many_bytes_waiting` both were reset.
   */
  readonly ended: (error?: MeshProxyError) => void;
}

/** Plain bytes that were taken from one side for the other. Counted as they come, so they stand also where it breaks. */
export interface Carried {
  /** From downstream to upstream. */
  up: number;
  down: number;
}

/** Two connections that are joined. */
export interface Splice {
  /** How many bytes wait for peers to take them. */
  readonly waiting: number;
  /** Resets both connections, for a reason that neither of them has. */
  readonly abort: (error: MeshProxyError) => void;
}
