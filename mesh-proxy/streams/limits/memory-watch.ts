import type { Socket } from "node:net";
import type { MemoryOf } from "../../limits/memory-in-use.ts";

/**
 * Looks at the memory that is in use, where the kernel counts the buffers of sockets in, and resets connections before there
 * is none left: of the source for whose connections the kernel holds most, that for which it holds most. What the process
 * itself holds has limits of its own; what the kernel holds nobody asks it before.
 */
export interface MemoryWatchOptions {
  /** Bytes; undefined: the kernel does not count sockets in. */
  readonly inUse: () => number | undefined;
  readonly memoryOf: MemoryOf;
  /** Of the process, in bytes. */
  readonly limit: number;
}

export interface Watched {
  readonly source: string;
  readonly sockets: readonly Socket[];
  /** Ends it. */
  readonly shed: () => void;
}

/** The last eighth is for what comes between two looks. */
const SHARE = 7 / 8;

const INTERVAL_MS = 100;

/** Of less there is no use in resetting a connection. */
const LITTLE = 64 * 1024;

export class MemoryWatch {
  readonly #options: MemoryWatchOptions;
  readonly #open = new Set<Watched>();

  constructor(options: MemoryWatchOptions) {
    this.#options = options;
    if (options.inUse() !== undefined) setInterval(() => this.look(), INTERVAL_MS).unref();
  }

  add(connection: Watched): void {
    this.#open.add(connection);
  }

  remove(connection: Watched): void {
    this.#open.delete(connection);
  }

  look(): void {
    const { inUse, limit } = this.#options;
    let excess = (inUse() ?? 0) - limit * SHARE;
    if (excess <= 0) return;
    const sources = this.#sources();
    while (excess > 0) {
      const [largest] = [...sources.values()].sort((one, other) => other.bytes - one.bytes);
      const connection = largest?.connections.shift();
      if (largest === undefined || connection === undefined || connection.bytes < LITTLE) return;
      largest.bytes -= connection.bytes;
      excess -= connection.bytes;
      connection.of.shed();
    }
  }

  /** The connections of each source, those first for which the kernel holds most. */
  #sources(): Map<string, { bytes: number; readonly connections: { of: Watched; bytes: number }[] }> {
    const sources = new Map<string, { bytes: number; readonly connections: { of: Watched; bytes: number }[] }>();
    for (const of of this.#open) {
      const bytes = of.sockets.reduce((sum, socket) => sum + this.#options.memoryOf(socket), 0);
      const source = sources.get(of.source) ?? { bytes: 0, connections: [] };
      source.bytes += bytes;
      source.connections.push({ of, bytes });
      sources.set(of.source, source);
    }
    for (const { connections } of sources.values()) connections.sort((one, other) => other.bytes - one.bytes);
    return sources;
  }
}
