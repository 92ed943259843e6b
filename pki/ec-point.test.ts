import { createECDH, ECDH } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromHex } from "../bytes/hex.ts";
import type { Curve } from "../crypto/primitives.ts";
import { CURVE_BYTES } from "../crypto/shapes.ts";
import { uncompressedPoint } from "./ec-point.ts";

const CURVES: readonly (readonly [Curve, string, p: bigint])[] = [
  ["P-256", "prime256v1", 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n],
  ["P-384", "secp384r1", 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n],
  ["P-521", "secp521r1", 2n ** 521n - 1n],
];

/** What OpenSSL makes of it. */
function expected(name: string, point: Uint8Array): Uint8Array | undefined {
  try {
    const answer = new Uint8Array(ECDH.convertKey(point, name, undefined, undefined, "uncompressed") as Buffer);
    // It has a form for no bytes, too, and for the point at infinity, which no key is.
    return answer.length > 1 ? answer : undefined;
  } catch {
    return undefined;
  }
}

function got(curve: Curve, point: Uint8Array): Uint8Array | undefined {
  const answer = uncompressedPoint(curve, point);
  return answer && new Uint8Array(answer);
}

test.each(CURVES)("every form of a point of %s is the same point", (curve, name) => {
  for (let round = 0; round < 20; round++) {
    const key = createECDH(name);
    key.generateKeys();
    const want = new Uint8Array(key.getPublicKey(null, "uncompressed"));
    for (const form of ["compressed", "uncompressed", "hybrid"] as const) {
      expect(got(curve, key.getPublicKey(null, form))).toEqual(want);
    }
  }
});

test.each(CURVES)("any bytes are a point of %s where they are one to OpenSSL", (curve, name) => {
  const size = CURVE_BYTES[curve];
  const form = fc.constantFrom(2, 3, 4, 6, 7);
  const coordinate = fc.uint8Array({ minLength: size, maxLength: size }).map((bytes) => {
    // Of the 528 bits that a number of P-521 has room for, 521 are used.
    if (curve === "P-521") bytes.set([0, (bytes[1] ?? 0) & 1]);
    return bytes;
  });
  fc.assert(
    fc.property(form, coordinate, coordinate, (first, x, y) => {
      const point = Uint8Array.of(first, ...x, ...(first < 4 ? [] : y));
      expect(got(curve, point)).toEqual(expected(name, point));
    }),
    { numRuns: 200 },
  );
});

test.each(CURVES)("what is no point of %s has no form", (curve, name, p) => {
  const size = CURVE_BYTES[curve];
  const key = createECDH(name);
  key.generateKeys();
  const point = new Uint8Array(key.getPublicKey());
  const hybrid = new Uint8Array(key.getPublicKey(null, "hybrid"));
  const digits = (value: bigint): Uint8Array => fromHex(value.toString(16).padStart(2 * size, "0")) ?? new Uint8Array();
  const wrong = {
    nothing: new Uint8Array(),
    infinity: Uint8Array.of(0),
    "infinity, filled up": new Uint8Array(1 + 2 * size),
    "cut off": point.subarray(0, -1),
    "too long": Uint8Array.of(...point, 0),
    "of another form": point.with(0, 5),
    "another y": point.with(2 * size, (point[2 * size] ?? 0) ^ 1),
    "hybrid with the other sign": hybrid.with(0, (hybrid[0] ?? 0) ^ 1),
    "x is p": Uint8Array.of(2, ...digits(p)),
    "y is p": Uint8Array.of(4, ...new Uint8Array(size), ...digits(p)),
  };
  for (const [what, bytes] of Object.entries(wrong)) {
    expect(got(curve, bytes), what).toBeUndefined();
    expect(expected(name, bytes), what).toBeUndefined();
  }
});
