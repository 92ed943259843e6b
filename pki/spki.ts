import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import type { Curve } from "../crypto/primitives.ts";
import { CURVE_BYTES } from "../crypto/shapes.ts";
import { type DerReader, readDer } from "./der.ts";
import { encodeBitString, encodeOid, encodeSequence } from "./der-writer.ts";

/**
 * Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of the two algorithms in use, to the last byte. So a key is looked at
 * before anything computes with it, and libraries that differ about odd keys never see one. Whether a point is on its curve is
 * for `isPublicKey` of crypto/, or ec-point.ts.
 */
export type PublicKeyInfo =
  | {
      readonly kind: "rsa";
      /** Length of the modulus. */
      readonly bits: number;
      readonly exponent: bigint;
    }
  | EcKeyInfo;

export interface EcKeyInfo {
  readonly kind: "ec";
  readonly curve: Curve;
  /** SEC 1 §2.3.3: 02 or 03 ‖ x, 04 ‖ x ‖ y; or the hybrid form 06 or 07 ‖ x ‖ y. */
  readonly point: Uint8Array;
}

const RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY = "1.2.840.10045.2.1";
/** RFC 5480 §2.1.1.1. */
const CURVE_IDS: Readonly<Record<Curve, string>> = {
  "P-256": "1.2.840.10045.3.1.7",
  "P-384": "1.3.132.0.34",
  "P-521": "1.3.132.0.35",
};

/**
 * @param base where the bytes begin in the structure around them, from whose start offsets count
 * @throws MalformedBytes where it is something else
 */
export function readSpki(spki: Uint8Array, base = 0): PublicKeyInfo {
  const what = "subjectPublicKeyInfo";
  const readInfo = (info: DerReader): PublicKeyInfo => {
    const curve = info.sequence("algorithm", readAlgorithm);
    const bits = info.bitString("subjectPublicKey", true);
    const offset = info.offset - bits.length;
    return curve === undefined ? readRsa(bits, offset) : readPoint(curve, bits, offset);
  };
  return readDer(spki, what, (der) => der.sequence(what, readInfo), base);
}

/** SubjectPublicKeyInfo of a point in one of the forms of `EcKeyInfo`. */
export function encodeEcSpki({ curve, point }: Omit<EcKeyInfo, "kind">): Uint8Array {
  const algorithm = encodeSequence(encodeOid(EC_PUBLIC_KEY), encodeOid(CURVE_IDS[curve]));
  return encodeSequence(algorithm, encodeBitString(point));
}

/** @returns undefined: an RSA key */
function readAlgorithm(der: DerReader): Curve | undefined {
  const { offset } = der;
  const id = der.oid("algorithm");
  if (id === RSA_ENCRYPTION) {
    der.null("parameters");
    return undefined;
  }
  if (id !== EC_PUBLIC_KEY) throw new MalformedBytes("algorithm", offset, id, "rsaEncryption or id-ecPublicKey");
  const at = der.offset;
  const named = der.oid("namedCurve");
  const curve = CURVES.find((each) => CURVE_IDS[each] === named);
  if (curve === undefined) throw new MalformedBytes("namedCurve", at, named, CURVES.join(" or "));
  return curve;
}

const CURVES = Object.keys(CURVE_IDS) as readonly Curve[];

function readPoint(curve: Curve, point: Uint8Array, offset: number): EcKeyInfo {
  const [form = -1] = point;
  const coordinates = { 2: 1, 3: 1, 4: 2, 6: 2, 7: 2 }[form] ?? 0;
  if (coordinates === 0 || point.length !== 1 + coordinates * CURVE_BYTES[curve]) {
    const got = `${toHex(point.subarray(0, 8))}, ${point.length} bytes`;
    throw new MalformedBytes("subjectPublicKey", offset, got, `a point of ${curve}`);
  }
  return { kind: "ec", curve, point };
}

/** RSAPublicKey (RFC 8017 §A.1.1). */
function readRsa(bits: Uint8Array, offset: number): PublicKeyInfo {
  const readKey = (key: DerReader): PublicKeyInfo => {
    const modulus = key.integer("modulus");
    const exponent = key.integer("publicExponent");
    return { kind: "rsa", bits: bitLength(modulus), exponent: BigInt(`0x${toHex(exponent)}`) };
  };
  return readDer(bits, "RSAPublicKey", (der) => der.sequence("RSAPublicKey", readKey), offset);
}

/** Of a big-endian number in the form of an INTEGER: at most the first byte is zero. */
function bitLength(number: Uint8Array): number {
  const digits = number[0] === 0 ? number.subarray(1) : number;
  return digits.length === 0 ? 0 : 8 * digits.length - (Math.clz32(digits[0] ?? 0) - 24);
}
