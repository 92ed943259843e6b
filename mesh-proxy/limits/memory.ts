/**
 * What the memory of the proxy is for. Everything that a peer can make it hold is part of one of these, and each of them
 * has its own limit: connections and handshakes by their number, bytes that wait by what they are.
 */
export interface MemoryParts {
  /** Bytes; those of `connections` are for both directions together. */
  readonly connections: number;
  readonly handshakes: number;
  readonly heldBytes: number;
}

const MIB = 2 ** 20;

/** Node and the program itself, with the pages of its files that are always in use, and what V8 has not collected yet. */
const PROGRAM = 72 * MIB;

/** What a connection takes while nothing waits on it: 57 KiB of the process, measured, and its two sockets of the kernel. */
export const CONNECTION = 64 * 1024;

/** What a handshake takes beside, most of all OpenSSL's state and the bytes that are collected. */
export const HANDSHAKE = 64 * 1024;

/**
 * Half of what the program does not take is for connections, a quarter for bytes that wait, an eighth for handshakes. The
 * last eighth stays free: for what is on its way through the event loop, and for what malloc and V8 have not given back.
 *
 * @param limit of the process, in bytes
 */
export function memoryParts(limit: number): MemoryParts {
  // With less than the program takes it serves few, as long as it can.
  const rest = Math.max(limit - PROGRAM, limit / 16);
  return { connections: rest / 2, heldBytes: rest / 4, handshakes: rest / 8 };
}
