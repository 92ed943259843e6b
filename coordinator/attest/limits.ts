import type { SemaphoreLimits } from "../../runtime/keyed-semaphore.ts";

/** What the attestation API gives to its clients. A source is an address; see `sourceOf`. */
export interface AttestLimits {
  /** Open connections, each with one request at most. Each costs `VISITOR_BYTES`. */
  readonly connections: SemaphoreLimits;
  /** Answers on their way. Each costs `ANSWER_BYTES`; who waits for a place has a connection. */
  readonly answers: SemaphoreLimits;
  /** The same of longer ones. Each costs `LARGE_BYTES`, or `mostBytes` where that is less. */
  readonly large: SemaphoreLimits;
  /** No answer is longer. */
  readonly mostBytes: number;
  /** What is kept of the history beside its bytes, which are kept for the user API anyway. */
  readonly historyBytes: number;
  /** For the body of a request, and for its answer to be read, each, in milliseconds. */
  readonly requestMs: number;
  /** For evidence to be made, in milliseconds: the TEE may be busy. */
  readonly evidenceMs: number;
  /** From one answer to the end of the next request's head, in milliseconds. */
  readonly idleMs: number;
  /** Who keeps the server waiting for longer than this has to go where others need the room, in milliseconds. */
  readonly patienceMs: number;
}

/** Of the head of a request: proxies add to it. */
export const HEAD_BYTES = 8192;

/** Of a body: a nonce in hexadecimal, and what JSON has around it. */
export const MOST_BODY = 1024;

/** A body in more pieces comes from nobody. */
export const MOST_PIECES = 64;

/**
 * Of all answers on one connection; with the one that makes it more, the connection ends. What was sent lies in the kernel
 * until it is read, and nothing says how much of it was: a client who asks again and again and reads nothing would make
 * the kernel keep 4 MiB.
 */
export const STAYING_BYTES = 32 * 1024;

/** A socket, the parser, a head, a nonce that waits, and answers that nobody has read. */
export const VISITOR_BYTES = 32 * 1024 + STAYING_BYTES;

/** An answer, most of which it shares with others, and its copy in the kernel. */
export const ANSWER_BYTES = 128 * 1024;

/** As many bytes of a long answer the kernel keeps while nothing is read (tcp(7), `tcp_wmem`). */
export const LARGE_BYTES = 4 * 2 ** 20;
