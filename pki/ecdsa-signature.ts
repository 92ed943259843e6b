import { MalformedBytes } from "../bytes/cursor.ts";
import type { Curve } from "../crypto/primitives.ts";
import { CURVE_BYTES } from "../crypto/shapes.ts";
import { type DerReader, readDer } from "./der.ts";

/**
 * An ECDSA signature as it stands in certificates, SEQUENCE { r, s } (SEC 1 §C.5), in the form that `verifyEcdsa` takes:
 * r ‖ s, big-endian, each as long as a coordinate of the curve.
 *
 * @returns undefined where it is no such DER, or a number is longer than that: then nobody has signed
 */
export function ecdsaSignatureOfDer(curve: Curve, der: Uint8Array): Uint8Array | undefined {
  const size = CURVE_BYTES[curve];
  const signature = new Uint8Array(2 * size);
  const readNumber = (reader: DerReader, field: "r" | "s", end: number): void => {
    const { offset } = reader;
    const number = reader.integer(field);
    // A leading zero says only that the number is not negative.
    const digits = number[0] === 0 ? number.subarray(1) : number;
    if (digits.length > size) throw new MalformedBytes(field, offset, `${digits.length} bytes`, `up to ${size}`);
    signature.set(digits, end - digits.length);
  };
  try {
    readDer(der, "signature", (reader) =>
      reader.sequence("signature", (numbers) => {
        readNumber(numbers, "r", size);
        readNumber(numbers, "s", 2 * size);
      }),
    );
    return signature;
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}
