import { TAG } from "./der.ts";

/** Writes DER (X.690): the counterpart of the reader, for structures that no library writes as they are needed. */

export function encodeDer(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([Buffer.from([tag, ...encodeLength(content.length)]), content]);
}

export function encodeSequence(...contents: readonly Uint8Array[]): Buffer {
  return encodeDer(TAG.sequence, ...contents);
}

/** A number of 0 up to 2^48 - 1. */
export function encodeInteger(value: number): Buffer {
  const bytes = bytesOf(value);
  // A leading bit that is set would make it negative.
  return encodeDer(TAG.integer, Buffer.from((bytes[0] ?? 0) >= 0x80 ? [0, ...bytes] : bytes));
}

/** An OBJECT IDENTIFIER from its dotted form. */
export function encodeOid(dotted: string): Buffer {
  const [root = 0, second = 0, ...arcs] = dotted.split(".").map(Number);
  return encodeDer(TAG.oid, Buffer.from([root * 40 + second, ...arcs].flatMap(base128)));
}

export function encodeBitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return encodeDer(TAG.bitString, Buffer.from([unusedBits]), bytes);
}

/** UTCTime up to 2049, GeneralizedTime after it (RFC 5280 §4.1.2.5). Milliseconds are cut off. */
export function encodeTime(time: Date): Buffer {
  const text = `${time.toISOString().slice(0, 19).replaceAll(/[-T:]/g, "")}Z`;
  return text < "2050"
    ? encodeDer(TAG.utcTime, Buffer.from(text.slice(2)))
    : encodeDer(TAG.generalizedTime, Buffer.from(text));
}

function encodeLength(length: number): number[] {
  const bytes = bytesOf(length);
  return length < 0x80 ? bytes : [0x80 | bytes.length, ...bytes];
}

function bytesOf(value: number): number[] {
  return value < 0x100 ? [value] : [...bytesOf(Math.floor(value / 0x100)), value % 0x100];
}

function base128(arc: number): number[] {
  const head = (value: number): number[] => (value === 0 ? [] : [...head(value >>> 7), 0x80 | (value & 0x7f)]);
  return [...head(arc >>> 7), arc & 0x7f];
}
