import { createECDH, createPrivateKey, hkdfSync } from "node:crypto";
import type { Secret } from "../runtime/secret.ts";
import { type KeyPair, keyPairOf } from "./keys.ts";

/** The order n of the base point of P-384 (SP 800-186 §3.2.1.4). */
const P384_ORDER = BigInt(
  "0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
);

/** HKDF-SHA256 (RFC 5869). `info` separates the uses of one seed; no two uses may share it. */
export function deriveBytes(seed: Secret, salt: Uint8Array, info: string | Uint8Array, length: number): Buffer {
  return Buffer.from(hkdfSync("sha256", seed.reveal(), salt, info, length));
}

/**
 * A P-384 key pair from a seed, by extra random bits (FIPS 186-5 §A.2.1): 48 + 8 bytes of HKDF output, reduced to
 * 1..n-1. The same seed, salt and info give the same key for ever.
 */
export function deriveP384Key(seed: Secret, salt: Uint8Array, info: string): KeyPair {
  const wide = BigInt(`0x${deriveBytes(seed, salt, info, 56).toString("hex")}`);
  const scalar = (wide % (P384_ORDER - 1n)) + 1n;
  const d = Buffer.from(scalar.toString(16).padStart(96, "0"), "hex");
  const ecdh = createECDH("secp384r1");
  ecdh.setPrivateKey(d);
  const point = ecdh.getPublicKey();
  const jwk = {
    kty: "EC",
    crv: "P-384",
    d: d.toString("base64url"),
    x: point.subarray(1, 49).toString("base64url"),
    y: point.subarray(49).toString("base64url"),
  };
  return keyPairOf(createPrivateKey({ key: jwk, format: "jwk" }));
}
