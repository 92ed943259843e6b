import { bigEndian, bigEndian64, littleEndian, littleEndian64 } from "./numbers.ts";

/**
 * Reads a binary structure from front to back, so that a parser reads like its specification. Every read is checked
 * against the end; every refusal names the field and its offset.
 */
export class Cursor {
  readonly #bytes: Uint8Array;
  /** Where `#bytes` begins in the structure that offsets count from. */
  readonly #base: number;
  #offset: number;
  #end: number;

  /**
   * Takes a copy: what was parsed does not change when the caller reuses its buffer. What is read are views of that copy.
   *
   * @param source another cursor has a copy already
   * @param offset where in the bytes the reading begins
   * @param base where the bytes begin in the structure around it, from whose start offsets count
   */
  constructor(source: Uint8Array | Cursor, offset = 0, base = 0) {
    this.#bytes = source instanceof Cursor ? source.#bytes : new Uint8Array(source);
    this.#base = base;
    this.#offset = offset;
    this.#end = this.#bytes.length;
  }

  get offset(): number {
    return this.#base + this.#offset;
  }

  /** The next byte, or undefined at the end. */
  get next(): number | undefined {
    return this.#offset < this.#end ? this.#bytes[this.#offset] : undefined;
  }

  /** What was read from `start` on. */
  since(start: number): Uint8Array {
    return this.#bytes.subarray(start - this.#base, this.#offset);
  }

  u8(field: string): number {
    return bigEndian(this.#bytes, this.#advance(1, field), 1);
  }

  u16le(field: string): number {
    return littleEndian(this.#bytes, this.#advance(2, field), 2);
  }

  u32le(field: string): number {
    return littleEndian(this.#bytes, this.#advance(4, field), 4);
  }

  u32be(field: string): number {
    return bigEndian(this.#bytes, this.#advance(4, field), 4);
  }

  u64le(field: string): bigint {
    return littleEndian64(this.#bytes, this.#advance(8, field));
  }

  u64be(field: string): bigint {
    return bigEndian64(this.#bytes, this.#advance(8, field));
  }

  bytes(length: number, field: string): Uint8Array {
    const start = this.#advance(length, field);
    return this.#bytes.subarray(start, start + length);
  }

  /** Reserved bytes. What a specification calls reserved must be zero, or two encodings would mean the same. */
  zeros(length: number, field: string): void {
    const end = this.#offset + length;
    for (let at = this.#advance(length, field); at < end; at++) {
      if (this.#bytes[at] !== 0) throw new MalformedBytes(field, this.#base + at, "a byte that is not zero", "zero");
    }
  }

  /** The next `length` bytes, to be read on their own. Offsets stay those of the structure around them. */
  inner(length: number, field: string): Cursor {
    const inner = new Cursor(this, this.#advance(length, field), this.#base);
    inner.#end = this.#offset;
    return inner;
  }

  /** The structure must end here. */
  end(field: string): void {
    const rest = this.#end - this.#offset;
    if (rest > 0) throw new MalformedBytes(field, this.offset, `${rest} more bytes`, "the end");
  }

  /** @returns where the next `length` bytes start */
  #advance(length: number, field: string): number {
    const start = this.#offset;
    const rest = this.#end - start;
    if (length > rest) throw new MalformedBytes(field, this.offset, `${rest} bytes`, `${length} bytes`);
    this.#offset = start + length;
    return start;
  }
}

/** Bytes that are not what their specification says. `offset` counts from the start of the structure. */
export class MalformedBytes extends Error {
  readonly field: string;
  readonly offset: number;
  readonly got: string;
  readonly want: string;

  constructor(field: string, offset: number, got: string, want: string) {
    super(`${field} at offset 0x${offset.toString(16)}: got ${got}, want ${want}`);
    this.name = "MalformedBytes";
    this.field = field;
    this.offset = offset;
    this.got = got;
    this.want = want;
  }
}
