/** The roots that a chain may end in, pinned by the key: lower-case hex of the SHA-256 of the SubjectPublicKeyInfo. */
export type TdxTrustAnchors = ReadonlySet<string>;

/** Intel SGX Root CA, from https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.pem */
export const INTEL_ROOTS: TdxTrustAnchors = new Set([
  "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e",
]);
