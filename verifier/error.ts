import { CodedError, type Details } from "../runtime/errors.ts";

/** Why a deployment was not verified, beside the codes of what is verified: evidence, manifest, history. */
export type VerifyCode =
  /** An option is not what it has to be: correct the named one. */
  | "invalid_option"
  /** The manifest trusts a software TEE, and the caller does not: `allowInsecure`, for trying things out. */
  | "insecure_not_allowed"
  /** Nothing answered, or not in time, or the answer broke off: look at the address and the network, or try again. */
  | "unreachable"
  /** The Coordinator has no manifest, or lacks its secrets, or has too much to do: try again after `retryAfterMs`. */
  | "not_ready"
  /** The Coordinator refuses the request: look at what it says. */
  | "request_refused"
  /** What answered sends elsewhere: use the address that it names, if that is meant. */
  | "redirected"
  /** What answered does not speak this API: look at the address, and at the proxies before it. */
  | "unexpected_answer"
  /** More bytes, or more documents, than a deployment has: look at what answers there. */
  | "answer_too_large"
  /** The answer is one to another question: kept by a proxy, or replayed. Stop. */
  | "nonce_mismatch"
  /** The evidence is of another policy than the caller's, or of one that is no Coordinator's by the manifest. Stop. */
  | "not_coordinator"
  /** The Coordinator enforces another manifest: get the one that is in force, and read it before you trust it. */
  | "manifest_mismatch"
  /** A document is not the one of its digest: something in between swaps answers. Stop, or try again. */
  | "digest_mismatch"
  /** Seed share owners of earlier manifests may know the seed: ask the workload owners who they are, and accept each by name. */
  | "seed_known_to_others"
  /** A CA certificate is not one, or not the one that the evidence is bound to, or not valid at this time. Stop. */
  | "ca_mismatch"
  /** The certificate is none that this deployment's Coordinator issued for what runs now, or is not valid at this time. Stop. */
  | "foreign_certificate"
  /** The deployment does not continue what was verified before: it was rolled back, or is another one. Stop. */
  | "not_continued"
  /** The deployment changed while it was looked at: verify it again. */
  | "changed_meanwhile"
  /** The statement is not in its one form, or lacks a document: it was changed, or cut. Stop. */
  | "malformed_statement"
  /** The nonce of the statement was not made of what the vendor signed: nothing says when it was true. Stop. */
  | "nonce_not_bound"
  /** The vendor signed what is in the statement only later than it is now: correct the clock. */
  | "statement_from_future";

export interface VerifyDetails extends Details {
  /** When to try again, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** The code of the problem that was answered. Whoever is in between may have made it up. */
  readonly answered?: string | undefined;
}

export class VerifyError extends CodedError<VerifyCode> {
  readonly retryAfterMs: number | undefined;
  readonly answered: string | undefined;

  constructor(code: VerifyCode, message: string, details: VerifyDetails = {}) {
    super(code, message, details);
    this.retryAfterMs = details.retryAfterMs;
    this.answered = details.answered;
  }
}
