/** What a TEE says about itself. Nothing in it is trusted until it is verified. */
export interface SnpEvidence {
  readonly kind: "snp";
  /** The attestation report as the firmware gave it. */
  readonly report: Buffer;
  /** DER, in any order: VCEK or VLEK, its issuer, the root. */
  readonly certificates: readonly Buffer[];
}

export type Evidence = SnpEvidence;

/** Collects the evidence of the VM that this program runs in. */
export interface Attester {
  /** The reason why its evidence proves nothing, or undefined. */
  readonly insecure: string | undefined;
  /** @param reportData 64 bytes that the evidence is bound to */
  collect(reportData: Buffer): Promise<Evidence>;
}
