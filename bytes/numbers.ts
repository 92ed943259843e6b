/** Unsigned integers as bytes, and back. */

export function u16le(value: number): Uint8Array {
  return encode(value, 2).reverse();
}

export function u32le(value: number): Uint8Array {
  return encode(value, 4).reverse();
}

export function u16be(value: number): Uint8Array {
  return encode(value, 2);
}

export function u32be(value: number): Uint8Array {
  return encode(value, 4);
}

export function u64le(value: bigint): Uint8Array {
  return u64be(value).reverse();
}

export function u64be(value: bigint): Uint8Array {
  if (value < 0n || value >= 1n << 64n) throw outOfRange(value, 8);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** Big-endian. */
function encode(value: number, length: number): Uint8Array {
  // What is cut off would be another number to whoever reads it.
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * length)) throw outOfRange(value, length);
  return Uint8Array.from({ length }, (_, index) => Math.floor(value / 2 ** (8 * (length - 1 - index))) % 256);
}

function outOfRange(value: number | bigint, length: number): RangeError {
  return new RangeError(`got ${value}, want a whole number of ${length} bytes`);
}

/** @param length up to 6; the bytes are there */
export function bigEndian(bytes: Uint8Array, start = 0, length = bytes.length): number {
  let value = 0;
  for (let at = start; at < start + length; at++) value = value * 256 + (bytes[at] ?? NaN);
  return value;
}

/** As `bigEndian`. */
export function littleEndian(bytes: Uint8Array, start = 0, length = bytes.length): number {
  let value = 0;
  for (let at = start + length - 1; at >= start; at--) value = value * 256 + (bytes[at] ?? NaN);
  return value;
}

/** 8 bytes, which are there. */
export function bigEndian64(bytes: Uint8Array, start = 0): bigint {
  return (BigInt(bigEndian(bytes, start, 4)) << 32n) | BigInt(bigEndian(bytes, start + 4, 4));
}

/** As `bigEndian64`. */
export function littleEndian64(bytes: Uint8Array, start = 0): bigint {
  return BigInt(littleEndian(bytes, start, 4)) | (BigInt(littleEndian(bytes, start + 4, 4)) << 32n);
}
