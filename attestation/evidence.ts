/** What a TEE says about itself. Nothing in it is trusted until it is verified. */
export interface SnpEvidence {
  readonly kind: "snp";
  /** The attestation report as the firmware gave it. */
  readonly report: Uint8Array;
  /** DER, in any order: VCEK or VLEK, its issuer, the root. */
  readonly certificates: readonly Uint8Array[];
  /** The root's revocation list, DER, for a verifier that has none of its own. */
  readonly crl?: Uint8Array | undefined;
}

export interface TdxEvidence {
  readonly kind: "tdx";
  /** The quote, zero bytes behind it allowed. */
  readonly quote: Uint8Array;
  /** What the sender fetched, for a verifier that has none of its own. */
  readonly collateral?: TdxCollateral | undefined;
}

/** What Intel's provisioning certification service says about a platform, as it was received (Intel PCS API, version 4). */
export interface TdxCollateral {
  /** The body of `/tdx/certification/v4/tcb`, byte for byte: its signature covers the bytes. */
  readonly tcbInfo: Uint8Array;
  /** The body of `/tdx/certification/v4/qe/identity`, byte for byte. */
  readonly qeIdentity: Uint8Array;
  /** The certificates that signed the two: PEM, in any order, with the root. */
  readonly signingChain: Uint8Array;
  /** The list of the CA that issued the PCK certificate, DER. */
  readonly pckCrl: Uint8Array;
  /** The root's list, DER. */
  readonly rootCrl: Uint8Array;
}

export type Evidence = SnpEvidence | TdxEvidence;

/** The kinds of TEE whose evidence can be verified. The software TEE makes evidence of the kind that it imitates. */
export type TeeKind = Evidence["kind"];

/** Collects the evidence of the VM that this program runs in. */
export interface Attester<E extends Evidence = Evidence> {
  /** The reason why its evidence proves nothing, or undefined. */
  readonly insecure: string | undefined;
  /** @param reportData 64 bytes that the evidence is bound to */
  collect(reportData: Uint8Array): Promise<E>;
}
