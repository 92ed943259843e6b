import { completeEvidence } from "../complete.ts";
import { EndorsementError } from "../endorsements/error.ts";
import type { CacheUse } from "../endorsements/cache.ts";
import { EvidenceError } from "../error.ts";
import type { Attester } from "../evidence.ts";
import type { PerChip } from "../tee.ts";

/**
 * An attester whose evidence has the certificate of its chip's key with it, also where the host gives none: a verifier
 * asks nobody for what is per chip, for anybody could make it ask.
 *
 * @param use how it is asked for
 * @param onMissing is told why there is none, once for each failure; where it does not throw, the evidence goes without
 */
export function withEndorsement(
  attester: Attester,
  vendors: PerChip,
  use: CacheUse,
  onMissing: (error: EndorsementError | EvidenceError) => void,
): Attester {
  let told: unknown;
  return {
    insecure: attester.insecure,
    collect: async (reportData) => {
      const evidence = await attester.collect(reportData);
      try {
        return await completeEvidence(evidence, vendors, use);
      } catch (error) {
        if (!(error instanceof EndorsementError) && !(error instanceof EvidenceError)) throw error;
        // The cache throws the same one again while it does not ask; a report that can't be asked about stays one.
        const isTold = error instanceof EvidenceError ? isSame(error, told) : error === told;
        if (!isTold) onMissing(error);
        told = error;
        return evidence;
      }
    },
  };
}

function isSame({ code }: EvidenceError, other: unknown): boolean {
  return other instanceof EvidenceError && other.code === code;
}
