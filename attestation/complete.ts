import type { CacheUse } from "./endorsements/cache.ts";
import type { TeeKind } from "./evidence.ts";
import type { EvidenceOf, PerChip } from "./tee.ts";
import { TEES } from "./tees.ts";

/**
 * Evidence with what is per chip, such as the certificate of a VCEK, also where the host gave none along.
 *
 * @param use how the vendor is asked for it
 * @throws EvidenceError, EndorsementError
 */
export function completeEvidence<K extends TeeKind>(
  evidence: EvidenceOf<K>,
  vendors: PerChip,
  use?: CacheUse,
): Promise<EvidenceOf<K>> {
  return TEES[evidence.kind].complete(evidence, vendors, use);
}
