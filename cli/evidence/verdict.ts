import { type Claims, claims } from "../../attestation/claims.ts";
import { TcbRevokedError } from "../../attestation/tdx/tcb.ts";
import type { VerifiedEvidence } from "../../attestation/tee.ts";
import { CodedError } from "../../runtime/errors.ts";
import { EXIT } from "../../runtime/exit.ts";
import { exitCodeOf } from "../exit-code.ts";
import { INSECURE } from "../../report/insecure.ts";

/** What `contrast evidence verify` answers; its JSON is what programs rely on. */
export interface Verdict {
  readonly verified: boolean;
  /** `ok`, or the stable code of the refusal. */
  readonly code: string;
  readonly message: string;
  readonly field: string | null;
  readonly got: string | null;
  readonly want: string | null;
  /** Intel's, as far as it is known; also where it is the reason of the refusal. */
  readonly tcbStatus: string | null;
  readonly advisories: readonly string[];
  /** Only of evidence that is verified: nobody is to rely on the others. */
  readonly claims: Claims | null;
  /** What was not checked. */
  readonly warnings: readonly string[];
  /** Why this proves nothing about hardware. */
  readonly insecure?: string;
}

/** What is known when it is decided. */
export interface Appraisal {
  /** Undefined where the evidence is not that of a vendor's hardware. */
  readonly verified: VerifiedEvidence | undefined;
  /** The roots are the user's own, not the vendor's. */
  readonly anchored: boolean;
  readonly warnings: readonly string[];
}

const ANCHORED = "INSECURE: the trust anchors of the command line replace the vendor's roots";

export function accepted({ verified, anchored, warnings }: Appraisal & { verified: VerifiedEvidence }): Verdict {
  const insecure = insecureReason(verified, anchored);
  return {
    verified: true,
    code: "ok",
    message: "the evidence is verified",
    field: null,
    got: null,
    want: null,
    ...tcbOf(verified, undefined),
    claims: insecure === undefined ? claims(verified) : ({ ...claims(verified), insecure: true } as Claims),
    warnings,
    ...(insecure !== undefined && { insecure }),
  };
}

/**
 * @returns undefined where the error says nothing about the evidence: wrong use, or a fault
 */
export function refused(error: unknown, { verified, anchored, warnings }: Appraisal): Verdict | undefined {
  if (!(error instanceof CodedError) || exitCodeOf(error) !== EXIT.refused) return undefined;
  const insecure = insecureReason(verified, anchored);
  return {
    verified: false,
    code: error.code,
    message: error.hint === undefined ? error.message : `${error.message}; ${error.hint}`,
    field: error.where ?? null,
    got: error.got ?? null,
    want: error.want ?? null,
    ...tcbOf(verified, error),
    claims: null,
    warnings,
    ...(insecure !== undefined && { insecure }),
  };
}

function insecureReason(verified: VerifiedEvidence | undefined, anchored: boolean): string | undefined {
  if (anchored) return ANCHORED;
  return verified?.simulated === true ? INSECURE : undefined;
}

/** Two statuses of Intel's are errors here: nothing may go on with them. */
function tcbOf(
  verified: VerifiedEvidence | undefined,
  error: CodedError | undefined,
): Pick<Verdict, "tcbStatus" | "advisories"> {
  if (verified?.kind === "tdx") return { tcbStatus: verified.tcbStatus, advisories: verified.advisories };
  if (error instanceof TcbRevokedError) return { tcbStatus: "Revoked", advisories: error.advisories };
  return { tcbStatus: error?.code === "no_tcb_level" ? "NotSupported" : null, advisories: [] };
}
