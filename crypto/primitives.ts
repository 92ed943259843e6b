/**
 * The cryptography that decisions about trust use, and all of it. A decision is a function that answers at once and depends
 * on nothing but its arguments; it asks these for digests and signatures. There are two implementations: `node.ts`, on
 * node:crypto, for the programs, and `web.ts`, on WebCrypto, which the build of the verifier puts in its place. Both give the same
 * answers; `web.test.ts` and the project `webcrypto` of the tests show it.
 */

/** FIPS 180-4. */
export type Hash = "sha256" | "sha384" | "sha512";

/** FIPS 186-4, by the names of JSON Web Keys (RFC 7518 §6.2.1.1). */
export type Curve = "P-256" | "P-384" | "P-521";

/**
 * A public key: SubjectPublicKeyInfo (RFC 5280 §4.1), DER, with rsaEncryption, or id-ecPublicKey, a curve by its name and an
 * uncompressed point. Of RSA, who asks has looked at modulus and exponent (pki/spki.ts): what libraries take differs.
 */
export type KeyType = { readonly kind: "ecdsa"; readonly curve: Curve } | { readonly kind: "rsa" };

export interface Primitives {
  /** @returns the digest of the parts, one after the other */
  readonly digest: (hash: Hash, ...parts: readonly Uint8Array[]) => Uint8Array;
  /** Whether it is a key of that type: a point on its curve, a modulus and an exponent. */
  readonly isPublicKey: (type: KeyType, spki: Uint8Array) => boolean;
  /**
   * Whether the holder of the key signed the data with ECDSA.
   *
   * @param spki a key that `isPublicKey` accepts; others sign nothing. Not to be written to: what it parses to is kept
   * @param signature r ‖ s, big-endian, each as long as the order of the curve (IEEE P1363)
   */
  readonly verifyEcdsa: (
    curve: Curve,
    hash: Hash,
    spki: Uint8Array,
    data: Uint8Array,
    signature: Uint8Array,
  ) => boolean;
  /** The same with RSASSA-PSS (RFC 8017 §8.1), MGF1 with the same hash, and a salt of this length, in bytes. */
  readonly verifyPss: (
    hash: Hash,
    saltLength: number,
    spki: Uint8Array,
    data: Uint8Array,
    signature: Uint8Array,
  ) => boolean;
  /**
   * Takes a decision. Primitives answer only inside of it: WebCrypto makes its callers wait, and a decision does not.
   *
   * @param decide must depend on nothing but what is there before; it may run several times. What it changes, it changes
   *   after the last question. WebCrypto answers one question for each time that it runs: a long decision is several
   * @returns what it returns @throws what it throws
   */
  readonly settle: <T>(decide: () => T) => Promise<T>;
}
