import type { Curve } from "./primitives.ts";

/**
 * What keys and signatures look like. Libraries differ about other encodings of the same key (compressed points, the parameters
 * of a curve written out) and about signatures of another length; so no implementation hands them to its library.
 */

/** SubjectPublicKeyInfo up to the point (RFC 5480 §2): id-ecPublicKey, the curve by its name, and 04, for uncompressed. */
const PREFIXES: Readonly<Record<Curve, readonly number[]>> = {
  "P-256": bytesOf("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
  "P-384": bytesOf("3076301006072a8648ce3d020106052b8104002203620004"),
  "P-521": bytesOf("30819b301006072a8648ce3d020106052b810400230381860004"),
};

/** Of a coordinate, and of each half of a signature, in bytes. */
export const CURVE_BYTES: Readonly<Record<Curve, number>> = { "P-256": 32, "P-384": 48, "P-521": 66 };

/** Whether it is a key of the curve by all but its point. */
export function looksLikeEcKey(curve: Curve, spki: Uint8Array): boolean {
  const prefix = PREFIXES[curve];
  return spki.length === prefix.length + 2 * CURVE_BYTES[curve] && prefix.every((byte, index) => spki[index] === byte);
}

/** r ‖ s: two numbers, each as long as the order of the curve. */
export function looksLikeSignature(curve: Curve, signature: Uint8Array): boolean {
  return signature.length === 2 * CURVE_BYTES[curve];
}

function bytesOf(hex: string): readonly number[] {
  return (hex.match(/../g) ?? []).map((digits) => Number.parseInt(digits, 16));
}
