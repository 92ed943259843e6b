import type { SemaphoreLimits } from "../../runtime/keyed-semaphore.ts";
import { MOST_BODY } from "./request-body.ts";

/** What the transit port gives to its clients. A source is an address; see `sourceOf`. */
export interface TransitLimits {
  /** Open connections, those included that wait for a place. Each costs `WAITING_BYTES`. */
  readonly connections: SemaphoreLimits;
  /** Connections that TLS knows. Each costs `TRANSIT_BYTES`. */
  readonly places: SemaphoreLimits;
  /** The same, of one workload, by its WorkloadSecretID: from however many addresses it comes. */
  readonly workloads: SemaphoreLimits;
  /** For the first message of TLS, and for the handshake, each, in milliseconds. */
  readonly handshakeMs: number;
  /** For a request to be complete once its head is, and for its answer to be read, each, in milliseconds. */
  readonly requestMs: number;
  /** From one answer to the end of the next request's head, in milliseconds. */
  readonly idleMs: number;
  /** Who keeps the server waiting for longer than this has to go where others need the room, in milliseconds. */
  readonly patienceMs: number;
}

/**
 * What a connection can cost at most: TLS 47 KiB, a handshake of two hellos 129, or a head of 8, a body, and an answer of
 * which TLS and the kernel each have a copy.
 */
export const TRANSIT_BYTES = 128 * 1024 + 3 * MOST_BODY;
