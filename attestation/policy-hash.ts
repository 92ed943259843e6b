import type { TeeKind } from "./evidence.ts";
import type { VerifiedOf } from "./tee.ts";
import { TEES } from "./tees.ts";

/**
 * The hash of the pod's policy, which the host had to give at launch.
 *
 * @returns 64 digits of lower-case hex
 * @throws EvidenceError config_id_malformed
 */
export function policyHash<K extends TeeKind>(verified: VerifiedOf<K>): string {
  return TEES[verified.kind].policyHash(verified);
}

/** The field that has it. */
export function policyField(kind: TeeKind): string {
  return TEES[kind].policyField;
}
