import type { Socket } from "node:net";

export interface Watched {
  readonly source: string;
  readonly sockets: readonly Socket[];
  /** Ends it. */
  readonly shed: () => void;
}

/** Of less there is no use in resetting a connection. */
const LITTLE = 64 * 1024;

interface Source {
  bytes: number;
  readonly connections: { readonly of: Watched; readonly bytes: number }[];
}

/** Knows which connections to reset when memory is scarce: of the source for which the kernel holds most, the heaviest. */
export class MemoryWatch {
  readonly #bytesHeld: (socket: Socket) => number;
  readonly #open = new Set<Watched>();

  /** @param bytesHeld by the kernel, for a socket */
  constructor(bytesHeld: (socket: Socket) => number) {
    this.#bytesHeld = bytesHeld;
  }

  add(connection: Watched): void {
    this.#open.add(connection);
  }

  remove(connection: Watched): void {
    this.#open.delete(connection);
  }

  /** Resets connections for which the kernel holds so many bytes together. */
  shed(bytes: number): void {
    const sources = this.#sources();
    for (let excess = bytes; excess > 0;) {
      const [largest] = sources.sort((one, other) => other.bytes - one.bytes);
      const connection = largest?.connections.shift();
      if (largest === undefined || connection === undefined || connection.bytes < LITTLE) return;
      largest.bytes -= connection.bytes;
      excess -= connection.bytes;
      connection.of.shed();
    }
  }

  /** The connections of each source, those first for which the kernel holds most. */
  #sources(): Source[] {
    const sources = new Map<string, Source>();
    for (const of of this.#open) {
      const bytes = of.sockets.reduce((sum, socket) => sum + this.#bytesHeld(socket), 0);
      const source = sources.get(of.source) ?? { bytes: 0, connections: [] };
      source.bytes += bytes;
      source.connections.push({ of, bytes });
      sources.set(of.source, source);
    }
    for (const { connections } of sources.values()) connections.sort((one, other) => other.bytes - one.bytes);
    return [...sources.values()];
  }
}
