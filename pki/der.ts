import { Cursor, MalformedBytes } from "../bytes/cursor.ts";
import { toHex, toLatin1 } from "../bytes/encode.ts";
import { bigEndian } from "../bytes/numbers.ts";

/**
 * Reads DER (X.690), strictly: every value has one encoding, and every byte belongs to something. What a function reads
 * inside an element must end where the element ends, so nothing can hide behind the fields that are looked at.
 */

/** Tags of X.690 §8; `context` is a constructed context-specific tag. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  context: (number: number) => 0xa0 | number,
} as const;

/** `encoding` is the element with its tag and length: what is signed, compared and pinned. */
export interface Element {
  readonly content: Uint8Array;
  readonly encoding: Uint8Array;
  /** Where the encoding begins, as `DerReader.offset`. */
  readonly offset: number;
}

/**
 * Reads all of `bytes`.
 *
 * @param base where they begin in the structure that they are a part of: offsets count from its start
 * @throws MalformedBytes, also where `read` leaves something over
 */
export function readDer<T>(bytes: Uint8Array, field: string, read: (der: DerReader) => T, base = 0): T {
  return readAll(new DerReader(new Cursor(bytes, 0, base)), field, read);
}

function readAll<T>(reader: DerReader, field: string, read: (der: DerReader) => T): T {
  const value = read(reader);
  reader.end(field);
  return value;
}

export class DerReader {
  readonly #cursor: Cursor;

  constructor(cursor: Cursor) {
    this.#cursor = cursor;
  }

  /** Where the next element begins, from the start of the structure. */
  get offset(): number {
    return this.#cursor.offset;
  }

  /** What was read from `start` on. */
  since(start: number): Uint8Array {
    return this.#cursor.since(start);
  }

  /** The tag of the next element, or undefined at the end. */
  get next(): number | undefined {
    return this.#cursor.next;
  }

  end(field: string): void {
    this.#cursor.end(field);
  }

  element(tag: number, field: string): Element {
    const start = this.#cursor.offset;
    const content = this.#cursor.bytes(this.#header(tag, field), field);
    return { content, encoding: this.#cursor.since(start), offset: start };
  }

  /** An element that holds others. */
  nested<T>(tag: number, field: string, read: (der: DerReader) => T): T {
    return readAll(new DerReader(this.#cursor.inner(this.#header(tag, field), field)), field, read);
  }

  sequence<T>(field: string, read: (der: DerReader) => T): T {
    return this.nested(TAG.sequence, field, read);
  }

  /** A SEQUENCE OF or SET OF. */
  many<T>(tag: number, field: string, read: (der: DerReader) => T): T[] {
    return this.nested(tag, field, (der) => {
      const items: T[] = [];
      while (der.next !== undefined) items.push(read(der));
      return items;
    });
  }

  boolean(field: string): boolean {
    const { offset } = this.#cursor;
    const { content } = this.element(TAG.boolean, field);
    const [value = NaN] = content;
    if (content.length !== 1 || ![0x00, 0xff].includes(value)) {
      throw new MalformedBytes(field, offset, shown(content), "00 or ff");
    }
    return value === 0xff;
  }

  null(field: string): void {
    const { offset } = this.#cursor;
    const { length } = this.element(TAG.null, field).content;
    if (length > 0) throw new MalformedBytes(field, offset, `${length} bytes`, "nothing in it");
  }

  /** The content of an INTEGER that is not negative, in its shortest form: equal numbers have equal bytes. */
  integer(field: string): Uint8Array {
    const { offset } = this.#cursor;
    const { content } = this.element(TAG.integer, field);
    const [first, second] = content;
    if (first === undefined || first >= 0x80 || (first === 0 && second !== undefined && second < 0x80)) {
      throw new MalformedBytes(field, offset, shown(content), "a number in its shortest form, not negative");
    }
    return content;
  }

  /** An INTEGER of 0..255. */
  byte(field: string): number {
    const { offset } = this.#cursor;
    const content = this.integer(field);
    const value = bigEndian(content.subarray(0, 2));
    if (content.length > 2 || value > 255) throw new MalformedBytes(field, offset, shown(content), "0..255");
    return value;
  }

  /** An ENUMERATED of 0..127. */
  enumerated(field: string): number {
    const { offset } = this.#cursor;
    const { content } = this.element(TAG.enumerated, field);
    const [value = NaN] = content;
    if (content.length !== 1 || value > 127) {
      throw new MalformedBytes(field, offset, shown(content), "one byte, 00 to 7f");
    }
    return value;
  }

  /** An OBJECT IDENTIFIER in dotted form. */
  oid(field: string): string {
    const { offset } = this.#cursor;
    const { content } = this.element(TAG.oid, field);
    const arcs: number[] = [];
    let arc = 0;
    let started = false;
    for (const byte of content) {
      // A leading 0x80 would be a second encoding of the same arc.
      if ((!started && byte === 0x80) || arc > 0xff_ffff) {
        throw new MalformedBytes(field, offset, shown(content), "an object identifier");
      }
      arc = arc * 128 + (byte & 0x7f);
      started = byte >= 0x80;
      if (!started) {
        arcs.push(arc);
        arc = 0;
      }
    }
    const [first] = arcs;
    if (first === undefined || started) throw new MalformedBytes(field, offset, shown(content), "an identifier");
    const root = Math.min(Math.floor(first / 40), 2);
    return [root, first - root * 40, ...arcs.slice(1)].join(".");
  }

  octetString(field: string): Uint8Array {
    return this.element(TAG.octetString, field).content;
  }

  /** The bytes of a BIT STRING; bits that its last byte does not use must be zero, and there are none where `whole`. */
  bitString(field: string, whole: boolean): Uint8Array {
    const { offset } = this.#cursor;
    const { content } = this.element(TAG.bitString, field);
    const unused = content[0] ?? 0xff;
    const last = content.length > 1 ? (content.at(-1) ?? 0) : 0xff;
    if (unused > (whole ? 0 : 7) || (last & ((1 << unused) - 1)) !== 0) {
      throw new MalformedBytes(field, offset, `${unused} unused bits`, whole ? "whole bytes" : "0..7, all zero");
    }
    return content.subarray(1);
  }

  /** UTCTime or GeneralizedTime in the forms of RFC 5280 §4.1.2.5: with seconds, in Zulu time. */
  time(field: string): Date {
    const { offset } = this.#cursor;
    const short = this.next === TAG.utcTime;
    const text = toLatin1(this.element(short ? TAG.utcTime : TAG.generalizedTime, field).content);
    const full = short ? `${text < "5" ? "20" : "19"}${text}` : text;
    const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full);
    const iso = parts === null ? "" : `${parts.slice(1, 4).join("-")}T${parts.slice(4, 7).join(":")}.000Z`;
    const time = new Date(iso);
    // A Date accepts 31 February and makes it March.
    if (Number.isNaN(time.getTime()) || time.toISOString() !== iso) {
      throw new MalformedBytes(field, offset, JSON.stringify(text), "a time with seconds, ending in Z");
    }
    return time;
  }

  /** Reads tag and length. @returns the length of the content */
  #header(tag: number, field: string): number {
    const start = this.#cursor.offset;
    const got = this.#cursor.u8(field);
    if (got !== tag) throw new MalformedBytes(field, start, `tag 0x${got.toString(16)}`, `tag 0x${tag.toString(16)}`);
    return this.#length(field);
  }

  /** X.690 §10.1: definite, and in the shortest form. */
  #length(field: string): number {
    const { offset } = this.#cursor;
    const first = this.#cursor.u8(field);
    if (first < 0x80) return first;
    const count = first & 0x7f;
    const length = count >= 1 && count <= 3 ? bigEndian(this.#cursor.bytes(count, field)) : 0;
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) {
      throw new MalformedBytes(field, offset, "a length that is indefinite, too long or padded", "its shortest form");
    }
    return length;
  }
}

/** For an error: the beginning of what somebody else chose. */
function shown(content: Uint8Array): string {
  return toHex(content.subarray(0, 64));
}
