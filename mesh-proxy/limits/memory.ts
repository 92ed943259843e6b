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

/** What an engine takes of the process and of the kernel, in bytes. */
export interface Footprint {
  /** Node and the program itself, with the pages of its files that are always in use. */
  readonly program: number;
  /** A connection with TLS while nothing waits on it, and its two sockets. */
  readonly connection: number;
  /** What a handshake takes beside. */
  readonly handshake: number;
}

const KIB = 2 ** 10;
const MIB = 2 ** 20;

/** By what was measured, with what V8 and malloc have not given back; docs/mesh-proxy.md has the figures. */
export const FOOTPRINTS = {
  // A connection takes up to 11 KiB more; all of them together less than the eighth that stays free. Of a handshake most is
  // OpenSSL's state and the bytes that are collected.
  streams: { program: 72 * MIB, connection: 64 * KIB, handshake: 64 * KIB },
  native: { program: 72 * MIB, connection: 16 * KIB, handshake: 32 * KIB },
} as const satisfies Readonly<Record<string, Footprint>>;

/**
 * Half of what the program does not take is for connections, a quarter for bytes that wait, an eighth for handshakes. The
 * last eighth stays free: for what is on its way through the program, and for what malloc and V8 have not given back.
 *
 * @param limit of the process, in bytes
 */
export function memoryParts(limit: number, { program }: Footprint): MemoryParts {
  // With less than the program takes it serves few, as long as it can.
  const rest = Math.max(limit - program, limit / 16);
  return { connections: rest / 2, heldBytes: rest / 4, handshakes: rest / 8 };
}
