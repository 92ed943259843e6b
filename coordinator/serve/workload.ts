import type { KeyObject } from "node:crypto";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";

/** Who connects. Without evidence it is anybody, and gets nothing but `CurrentTrust`. */
export interface Caller {
  readonly address: string;
  readonly publicKey: KeyObject;
  readonly verified: VerifiedClaimant | undefined;
}

/** A VM whose evidence was good for this connection. What it may have is decided anew with every request. */
export interface Workload extends Caller {
  readonly verified: VerifiedClaimant;
}
