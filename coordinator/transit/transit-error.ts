import { Refusal } from "../../api/refusal.ts";
import { CodedError, describeError } from "../../runtime/errors.ts";

/**
 * What the transit port refuses, and the status of HTTP that Vault gives to the same. Where Vault has a text for it, that is
 * the message.
 */
const STATUS = {
  /** The client showed no certificate. */
  certificate_missing: 403,
  /** It is not one that the mesh CA in force issued to a workload. */
  certificate_untrusted: 403,
  /** It is not valid at the time of the Coordinator's clock. */
  certificate_expired: 403,
  /** The key is not the caller's: another's, or nobody's. */
  permission_denied: 403,
  unsupported_path: 404,
  unsupported_operation: 405,
  /** What was sent is no request, or lacks something, or has something that is not supported. */
  malformed_request: 400,
  request_too_large: 413,
  request_too_slow: 408,
  /** The ciphertext is of another key, deployment or seed, or damaged. */
  ciphertext_not_authentic: 400,
  /** The version of the key is above the latest, or below the minimum. */
  key_version_refused: 400,
  /** More is asked than can be done at once. */
  too_many_requests: 429,
  /** The manifest in force lets a workload have a name of the Coordinator's. */
  reserved_name: 503,
} as const;

export type TransitErrorCode = keyof typeof STATUS;

/** A request to the transit port that is not granted. The message is what the client is told. */
export class TransitError extends CodedError<TransitErrorCode> {}

/** What a client is told: never more of an unexpected error than that it happened. */
export interface Told {
  readonly status: number;
  /** Stable, of a bounded set: for metrics and the audit log. */
  readonly code: string;
  readonly message: string;
}

export function toldOf(error: unknown): Told {
  if (error instanceof TransitError) return { status: STATUS[error.code], code: error.code, message: error.message };
  // What is in force does not let the Coordinator serve. What may be done about it is for whoever reads the client's log.
  if (error instanceof Refusal || error instanceof CodedError) {
    return { status: 503, code: error.code, message: describeError(error) };
  }
  return { status: 500, code: "internal", message: "internal error" };
}
