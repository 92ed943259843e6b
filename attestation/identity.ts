import type { TeeKind } from "./evidence.ts";
import { policyHash } from "./policy-hash.ts";
import type { VerifiedOf } from "./tee.ts";
import { TEES } from "./tees.ts";

/** What a TEE measured of the launch of a VM. */
export interface Launch {
  /** 48 bytes, hex. SNP: MEASUREMENT. TDX: SHA-384 of MRTD and RTMR 0 to 3. */
  readonly measurement: string;
  /** The host may read the VM's memory, or hand it to another host. */
  readonly exposed: boolean;
}

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
