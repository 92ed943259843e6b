import { hash, randomBytes } from "node:crypto";
import type { GateLimits } from "../../runtime/gate.ts";

/**
 * How many are in, of all threads together: counters in memory that they share, and no one waits. The total is exact.
 * Sources are told apart by a hash of which nobody outside knows the key: two may share a counter by chance, and then
 * have the room of one. So a source never gets more than its limit.
 */
export interface SharedCounters {
  /** One counter of all, then those of the sources. */
  readonly memory: SharedArrayBuffer;
  readonly key: Uint8Array;
}

/** Of a thousand sources at once, one in 65 shares its counter. Memory that no source came to is not taken. */
const SOURCES = 65_536;

const TOTAL = 0;

/** @param sources how many counters there are for them */
export function newCounters(sources: number = SOURCES): SharedCounters {
  return { memory: new SharedArrayBuffer((1 + sources) * Int32Array.BYTES_PER_ELEMENT), key: randomBytes(16) };
}

export class SharedPlaces {
  readonly #limits: GateLimits;
  readonly #counts: Int32Array;
  readonly #key: string;
  /** Connections often come from where the one before came from. */
  #last: { readonly source: string; readonly index: number } | undefined;

  constructor(limits: GateLimits, { memory, key }: SharedCounters) {
    this.#limits = limits;
    this.#counts = new Int32Array(memory);
    this.#key = Buffer.from(key).toString("hex");
  }

  get inside(): number {
    return Atomics.load(this.#counts, TOTAL);
  }

  /** How many are inside of the source that has most. */
  get mostOfOnePeer(): number {
    return this.#counts.subarray(TOTAL + 1).reduce((most, count) => Math.max(most, count), 0);
  }

  /** @returns what gives the place free, once; undefined where there is none */
  enter(source: string): (() => void) | undefined {
    const index = this.#indexOf(source);
    if (!this.#increment(index, this.#limits.perPeer)) return undefined;
    if (!this.#increment(TOTAL, this.#limits.total)) {
      Atomics.sub(this.#counts, index, 1);
      return undefined;
    }
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      Atomics.sub(this.#counts, TOTAL, 1);
      Atomics.sub(this.#counts, index, 1);
    };
  }

  #indexOf(source: string): number {
    if (this.#last?.source === source) return this.#last.index;
    const digest = hash("sha256", this.#key + source, "buffer");
    const index = TOTAL + 1 + (digest.readUInt32LE() % (this.#counts.length - 1));
    this.#last = { source, index };
    return index;
  }

  #increment(index: number, most: number): boolean {
    let count = Atomics.load(this.#counts, index);
    while (count < most) {
      const found = Atomics.compareExchange(this.#counts, index, count, count + 1);
      if (found === count) return true;
      count = found;
    }
    return false;
  }
}
