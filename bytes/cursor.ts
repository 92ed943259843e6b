/**
 * Reads a binary structure from front to back, so that a parser reads like its specification. Every read is checked
 * against the end; every refusal names the field and its offset.
 */
export class Cursor {
  readonly #bytes: Buffer;
  #offset: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  u8(field: string): number {
    return this.bytes(1, field).readUInt8();
  }

  u16le(field: string): number {
    return this.bytes(2, field).readUInt16LE();
  }

  u32le(field: string): number {
    return this.bytes(4, field).readUInt32LE();
  }

  u32be(field: string): number {
    return this.bytes(4, field).readUInt32BE();
  }

  u64le(field: string): bigint {
    return this.bytes(8, field).readBigUInt64LE();
  }

  /** A copy of the next `length` bytes: what was parsed does not change when the caller reuses its buffer. */
  bytes(length: number, field: string): Buffer {
    const end = this.#offset + length;
    if (end > this.#bytes.length) {
      throw new MalformedBytes(field, this.#offset, `${this.#bytes.length - this.#offset} bytes`, `${length} bytes`);
    }
    const slice = Buffer.from(this.#bytes.subarray(this.#offset, end));
    this.#offset = end;
    return slice;
  }

  /** Reserved bytes. What a specification calls reserved must be zero, or two encodings would mean the same. */
  zeros(length: number, field: string): void {
    const start = this.#offset;
    const at = this.bytes(length, field).findIndex((byte) => byte !== 0);
    if (at >= 0) throw new MalformedBytes(field, start + at, "a byte that is not zero", "zero");
  }

  /** The structure must end here. */
  end(field: string): void {
    const rest = this.#bytes.length - this.#offset;
    if (rest > 0) throw new MalformedBytes(field, this.#offset, `${rest} more bytes`, "the end");
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
