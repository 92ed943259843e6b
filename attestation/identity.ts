import type { TeeKind } from "./evidence.ts";
import type { Launch } from "./launch.ts";
import { policyHash } from "./policy-hash.ts";
import type { VerifiedOf } from "./tee.ts";
import { TEES } from "./tees.ts";

/** What all VMs have in common that were launched from one guest image with one policy, on one kind of TEE. */
export interface Identity extends Launch {
  readonly kind: TeeKind;
  /** SHA-256 of the policy document, hex. */
  readonly policyHash: string;
}

/** @throws EvidenceError config_id_malformed */
export function identityOf<K extends TeeKind>(verified: VerifiedOf<K>): Identity {
  const { kind } = verified;
  return { kind, policyHash: policyHash(verified), ...TEES[kind].launch(verified) };
}
