import { expect } from "vitest";
import { type EvidenceCode, EvidenceError } from "./error.ts";

/** For tests of what is refused. */

export function refusal(code: EvidenceCode, where?: string): unknown {
  return expect.objectContaining({ name: "EvidenceError", code, ...(where === undefined ? {} : { where }) });
}

/** A copy with one bit changed. */
export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(bit >>> 3) ^ (1 << (bit & 7)), bit >>> 3);
  return copy;
}

export function everyBit(bytes: Uint8Array): number[] {
  return Array.from({ length: 8 * bytes.length }, (_, bit) => bit);
}

/** Another one in every byte. */
export function oneBitInEveryByte(bytes: Uint8Array): number[] {
  return Array.from(bytes, (_, offset) => 8 * offset + (offset % 8));
}

/** Expects that evidence is refused, whichever of the bits is flipped. @param use verifies it */
export function expectRefused(bytes: Uint8Array, bits: readonly number[], use: (changed: Uint8Array) => unknown): void {
  expect(bits.length).toBeGreaterThan(0);
  expect(bits.filter((bit) => !isRefused(() => use(flipped(bytes, bit))))).toEqual([]);
}

function isRefused(use: () => unknown): boolean {
  try {
    use();
    return false;
  } catch (error) {
    return error instanceof EvidenceError;
  }
}
