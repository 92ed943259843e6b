import { toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import type { Curve } from "../crypto/primitives.ts";
import { CURVE_BYTES } from "../crypto/shapes.ts";

/**
 * Points of y² = x³ - 3x + b over GF(p) (FIPS 186-4 §D.1.2). All three p are 3 modulo 4, so that a root of a square v is
 * v^((p + 1) / 4). Nothing here is secret, so nothing here takes the same time for all points.
 */
interface Parameters {
  readonly p: bigint;
  readonly b: bigint;
}

const PARAMETERS: Readonly<Record<Curve, Parameters>> = {
  "P-256": {
    p: 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
    b: 0x5ac635d8_aa3a93e7_b3ebbd55_769886bc_651d06b0_cc53b0f6_3bce3c3e_27d2604bn,
  },
  "P-384": {
    p: 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n,
    b: 0xb3312fa7_e23ee7e4_988e056b_e3f82d19_181d9c6e_fe814112_0314088f_5013875a_c656398d_8a2ed19d_2a85c8ed_d3ec2aefn,
  },
  "P-521": {
    p: 2n ** 521n - 1n,
    b: 0x51_953eb961_8e1c9a1f_929a21a0_b68540ee_a2da725b_99b315f3_b8b48991_8ef109e1_56193951_ec7e937b_1652c0bd_3bb1bf07_3573df88_3d2c34f1_ef451fd4_6b503f00n,
  },
};

/**
 * The one form that all of them take, 04 ‖ x ‖ y, of a point in any (SEC 1 §2.3.4): a key has several encodings.
 *
 * @param point 02 or 03 ‖ x, 04 ‖ x ‖ y, or 06 or 07 ‖ x ‖ y
 * @returns undefined where it is no point of the curve
 */
export function uncompressedPoint(curve: Curve, point: Uint8Array): Uint8Array | undefined {
  const size = CURVE_BYTES[curve];
  const { p, b } = PARAMETERS[curve];
  const [form] = point;
  const isCompressed = form === 2 || form === 3;
  if (form === undefined || !FORMS.has(form) || point.length !== 1 + size * (isCompressed ? 1 : 2)) return undefined;
  const x = numberOf(point.subarray(1, 1 + size));
  if (x >= p) return undefined;
  const square = modulo(x ** 3n - 3n * x + b, p);
  const y = isCompressed ? rootOf(square, form === 3, p) : numberOf(point.subarray(1 + size));
  if (y >= p || modulo(y * y, p) !== square) return undefined;
  if (form !== 4 && BigInt(form & 1) !== (y & 1n)) return undefined;
  return fromHex(`04${hexOf(x, size)}${hexOf(y, size)}`);
}

const FORMS: ReadonlySet<number> = new Set([2, 3, 4, 6, 7]);

/** Something whose square is another number, where there is no root. */
function rootOf(square: bigint, odd: boolean, p: bigint): bigint {
  const root = power(square, (p + 1n) / 4n, p);
  return ((root & 1n) === 1n) === odd ? root : p - root;
}

function power(base: bigint, exponent: bigint, p: bigint): bigint {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % p;
    if (bit === "1") result = (result * base) % p;
  }
  return result;
}

function modulo(value: bigint, p: bigint): bigint {
  return ((value % p) + p) % p;
}

function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes)}`);
}

function hexOf(value: bigint, size: number): string {
  return value.toString(16).padStart(2 * size, "0");
}
