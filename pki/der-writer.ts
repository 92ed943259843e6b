import { fromUtf8 } from "../bytes/encode.ts";
import { TAG } from "./der.ts";

/** Writes DER (X.690): the counterpart of the reader, for structures that no library writes as they are needed. */

export function encodeDer(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const content of contents) length += content.length;
  const head = encodeLength(length);
  const encoding = new Uint8Array(1 + head.length + length);
  encoding[0] = tag;
  encoding.set(head, 1);
  let offset = 1 + head.length;
  for (const content of contents) {
    encoding.set(content, offset);
    offset += content.length;
  }
  return encoding;
}

export function encodeSequence(...contents: readonly Uint8Array[]): Uint8Array {
  return encodeDer(TAG.sequence, ...contents);
}

/** A number of 0 up to 2^48 - 1. */
export function encodeInteger(value: number): Uint8Array {
  const bytes = bytesOf(value);
  // A leading bit that is set would make it negative.
  return encodeDer(TAG.integer, Uint8Array.from((bytes[0] ?? 0) >= 0x80 ? [0, ...bytes] : bytes));
}

/** An OBJECT IDENTIFIER from its dotted form. Not to be written to: each is encoded once. */
export function encodeOid(dotted: string): Uint8Array {
  let encoding = identifiers.get(dotted);
  if (encoding === undefined) {
    const [root = 0, second = 0, ...arcs] = dotted.split(".").map(Number);
    encoding = encodeDer(TAG.oid, Uint8Array.from([root * 40 + second, ...arcs].flatMap(base128)));
    identifiers.set(dotted, encoding);
  }
  return encoding;
}

/** Few: all are constants of this program. */
const identifiers = new Map<string, Uint8Array>();

export function encodeBitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return encodeDer(TAG.bitString, Uint8Array.of(unusedBits), bytes);
}

/** UTCTime up to 2049, GeneralizedTime after it (RFC 5280 §4.1.2.5). Milliseconds are cut off. */
export function encodeTime(time: Date): Uint8Array {
  const text = `${time.toISOString().slice(0, 19).replaceAll(/[-T:]/g, "")}Z`;
  return text < "2050"
    ? encodeDer(TAG.utcTime, fromUtf8(text.slice(2)))
    : encodeDer(TAG.generalizedTime, fromUtf8(text));
}

function encodeLength(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes = bytesOf(length);
  return [0x80 | bytes.length, ...bytes];
}

function bytesOf(value: number): number[] {
  return value < 0x100 ? [value] : [...bytesOf(Math.floor(value / 0x100)), value % 0x100];
}

function base128(arc: number): number[] {
  const head = (value: number): number[] => (value === 0 ? [] : [...head(value >>> 7), 0x80 | (value & 0x7f)]);
  return [...head(arc >>> 7), arc & 0x7f];
}
