import type { ChipVendors } from "../../attestation/endorsements/vendors.ts";
import type { Attester, Evidence, TeeKind } from "../../attestation/evidence.ts";
import { INTEL_ROOTS, type TdxTrustAnchors } from "../../attestation/tdx/roots.ts";
import { wholeEvidence } from "../../attestation/whole-evidence.ts";

export interface EvidenceSourceOptions {
  readonly attester: Attester;
  readonly vendors: ChipVendors;
  readonly now: () => Date;
  readonly random: (length: number) => Buffer;
  /** Intel's, where left out. */
  readonly tdxAnchors?: TdxTrustAnchors;
}

/** The evidence of this VM for verifiers who ask nobody else. */
export class EvidenceSource {
  readonly #options: EvidenceSourceOptions;
  #kind: Promise<TeeKind> | undefined;

  constructor(options: EvidenceSourceOptions) {
    this.#options = options;
  }

  /** It comes from a software TEE and proves nothing. */
  get insecure(): boolean {
    return this.#options.attester.insecure !== undefined;
  }

  /**
   * What the TEE says about itself, as it said it.
   *
   * @param reportData 64 bytes
   * @throws EvidenceError
   */
  collect(reportData: Uint8Array): Promise<Evidence> {
    return this.#options.attester.collect(Buffer.from(reportData));
  }

  /**
   * The same with certificates and lists of the vendor. No vendor knows a software TEE, whose evidence is whole.
   *
   * @throws EvidenceError, EndorsementError
   */
  async complete(evidence: Evidence): Promise<Evidence> {
    const { vendors, now, tdxAnchors = INTEL_ROOTS } = this.#options;
    return this.insecure ? evidence : wholeEvidence(evidence, { vendors, now, tdxAnchors });
  }

  /** Which TEE this is: it takes one report to know, the first time. @throws EvidenceError */
  kind(): Promise<TeeKind> {
    if (this.#kind === undefined) {
      const asked = this.collect(this.#options.random(64)).then(({ kind }) => kind);
      this.#kind = asked;
      asked.catch(() => {
        // The TEE may be less busy the next time.
        if (this.#kind === asked) this.#kind = undefined;
      });
    }
    return this.#kind;
  }
}
