/** Bytes to text, and back, and to one another: what trust code needs of them, on every runtime. */

const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });
/** The order of bytes of every machine that runs this. */
const UTF16 = new TextDecoder("utf-16le", { ignoreBOM: true });
const DIGITS = new TextEncoder().encode("0123456789abcdef");

/** @returns lower-case hexadecimal */
export function toHex(bytes: Uint8Array): string {
  // A string that grows by each byte takes ten times as long, and strangers choose how many there are.
  const digits = new Uint8Array(2 * bytes.length);
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    digits[2 * at] = DIGITS[byte >>> 4] ?? 0;
    digits[2 * at + 1] = DIGITS[byte & 0xf] ?? 0;
  }
  return UTF8.decode(digits);
}

/** @returns UTF-8 */
export function fromUtf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** What is no UTF-8 becomes U+FFFD, and a byte order mark stays. */
export function toUtf8(bytes: Uint8Array): string {
  return UTF8.decode(bytes);
}

/** One character for each byte, U+0000 to U+00FF. */
export function toLatin1(bytes: Uint8Array): string {
  return UTF16.decode(new Uint16Array(bytes));
}

/** @returns base64 (RFC 4648 §4), with padding */
export function toBase64(bytes: Uint8Array): string {
  return btoa(toLatin1(bytes));
}

/**
 * Strictly: with padding, without white space, and in the one form that these bytes have.
 *
 * @returns undefined where the text is something else
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const decoded = atob(text);
  const bytes = new Uint8Array(decoded.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = decoded.charCodeAt(at);
  return toBase64(bytes) === text ? bytes : undefined;
}

export function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && compare(one, other) === 0;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** With zeros behind it, up to this length. */
export function filledUp(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  return concat(bytes, new Uint8Array(length - bytes.length));
}

/** By their first byte that differs, then by length: negative where `one` comes first. */
export function compare(one: Uint8Array, other: Uint8Array): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const difference = (one[at] ?? 0) - (other[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return one.length - other.length;
}
