import { crc32 } from "node:zlib";
import type { Parse, Reading } from "./parse.ts";

/**
 * Remembers what the bytes of verified evidence parse to. Through `once.ts`, what follows from the parsed objects alone
 * is remembered with them: keys, and which of them signed which. Everything else is checked on every use: pinned roots,
 * names, CA rules, dates, revocation, TCB levels.
 *
 * What is remembered is found by all of its bytes, compared one by one; a checksum only says where to look. Only
 * evidence that was verified leaves something behind: nobody fills the cache, or drives others out of it, with bytes of
 * his own making alone. What was parsed must not be written to.
 */
export class EvidenceCache {
  readonly #capacity: number;
  /** By checksum. What is used moves to the young generation; when that is full, the old one is forgotten. */
  #young = new Map<number, Entry>();
  #old = new Map<number, Entry>();
  /** Of the young generation. */
  #size = 0;

  /** @param capacity in bytes before they are parsed; 8 MiB hold some hundreds of platforms */
  constructor(capacity = 8 * 1024 * 1024) {
    this.#capacity = capacity;
  }

  /**
   * Runs a verification. Where it succeeds, what it parsed is remembered.
   *
   * @param verify must throw what it refuses, and be done when it returns
   */
  remembering<T>(verify: (parse: Parse) => T): T {
    const reading = this.begin();
    const result = verify(reading.parse);
    reading.keep();
    return result;
  }

  /** The same for a verification in several steps: `keep` is for the last one, when nothing can be refused any more. */
  begin(): Reading {
    const fresh: Entry[] = [];
    return {
      parse: (parser, bytes) => {
        const checksum = crc32(bytes.subarray(0, HEAD_SIZE));
        const isIt = (entry: Entry): boolean => entry.parser === parser && entry.bytes.equals(bytes);
        const known = this.#find(checksum, parser, bytes) ?? fresh.find(isIt);
        // The same parser makes the same of the same bytes.
        if (known !== undefined) return known.value as ReturnType<typeof parser>;
        const value = parser(bytes);
        fresh.push({ checksum, parser, bytes: Buffer.from(bytes), value });
        return value;
      },
      keep: () => {
        for (const entry of fresh.splice(0)) this.#add(entry);
      },
    };
  }

  /** Parses bytes, or finds what verified evidence left of them. Leaves nothing behind. */
  recall<T extends object>(parser: (bytes: Uint8Array) => T, bytes: Uint8Array): T {
    const known = this.#find(crc32(bytes.subarray(0, HEAD_SIZE)), parser, bytes);
    return known === undefined ? parser(bytes) : (known.value as T);
  }

  #find(checksum: number, parser: unknown, bytes: Uint8Array): Entry | undefined {
    const isIt = (entry: Entry | undefined): entry is Entry =>
      entry !== undefined && entry.parser === parser && entry.bytes.equals(bytes);
    const young = this.#young.get(checksum);
    if (isIt(young)) return young;
    const old = this.#old.get(checksum);
    if (!isIt(old)) return undefined;
    this.#add(old);
    return old;
  }

  #add(entry: Entry): void {
    const size = entry.bytes.length + ENTRY_SIZE;
    if (this.#size + size > this.#capacity / 2) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#size = 0;
    }
    if (size > this.#capacity / 2) return;
    this.#young.set(entry.checksum, entry);
    this.#size += size;
  }
}

interface Entry {
  readonly checksum: number;
  readonly parser: unknown;
  readonly bytes: Buffer;
  readonly value: object;
}

/** What the checksum covers: serial numbers, dates and names stand at the beginning. */
const HEAD_SIZE = 4096;

/** What an entry takes beside its bytes: an estimate. */
const ENTRY_SIZE = 512;
