/** Whoever connects. All that is known is the key that the connection was made with. */
export interface User {
  readonly address: string;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  /** SHA-256 of it, hex. */
  readonly key: string;
}
