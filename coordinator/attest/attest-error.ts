import type { Problem } from "../../api/http/answers.ts";
import { outcomeOf, Refusal } from "../../api/refusal.ts";
import { STATUS as STATUS_CODE } from "../../api/status.ts";
import { EndorsementError } from "../../attestation/endorsements/error.ts";
import { EvidenceError } from "../../attestation/error.ts";
import { CodedError } from "../../runtime/errors.ts";

/** What the attestation API refuses, and the status of HTTP for it. */
const STATUS = {
  /** What was sent is no request, or not the one that this path takes. */
  malformed_request: 400,
  /** A first manifest has no signature that vouches for it: it is set over the attested channel. */
  channel_required: 403,
  /** A change is not read before an owner's signature says that it may be made. */
  permit_missing: 403,
  unknown_path: 404,
  /** The history in force names no such document, whether there is one or not. */
  unknown_digest: 404,
  unsupported_method: 405,
  request_too_slow: 408,
  /** What may be long says how long it is. */
  length_required: 411,
  /** Longer than any request is, or than there is memory for; it was not read. */
  request_too_large: 413,
  unsupported_media_type: 415,
  unsupported_expectation: 417,
  /** More is asked than can be done at once. */
  too_many_requests: 429,
  /** What is in force changed while it was attested. */
  state_changed: 503,
  /** The TEE is busy, or what is asked before takes long. */
  evidence_too_slow: 503,
  /** The memory limit of the Coordinator does not allow an answer of this length. */
  answer_too_large: 503,
} as const;

export type AttestErrorCode = keyof typeof STATUS;

/** A request to the attestation API that is not granted. The message is what the client is told. */
export class AttestError extends CodedError<AttestErrorCode> {}

/** Refusals that say what is in force here, in words that are for everybody; and when to ask again, in milliseconds. */
const NOT_READY: Readonly<Record<string, number>> = {
  no_manifest: 10_000,
  needs_recovery: 10_000,
  stale_state: 1000,
  history_forked: 60_000,
};

/** After a lack of room, a change, a busy TEE or a vendor that is down, in milliseconds. */
const SOON_MS = 1000;
const LATER_MS = 5000;

/** What a change is refused for is told to whoever brings it, as over the attested channel. */
const CHANGE_STATUS: Readonly<Record<number, number>> = {
  [STATUS_CODE.INVALID_ARGUMENT]: 400,
  [STATUS_CODE.PERMISSION_DENIED]: 403,
  [STATUS_CODE.NOT_FOUND]: 404,
  [STATUS_CODE.ABORTED]: 409,
  [STATUS_CODE.FAILED_PRECONDITION]: 409,
  [STATUS_CODE.RESOURCE_EXHAUSTED]: 413,
};

/** @param error what was thrown when a change was asked for */
export function changeProblemOf(error: unknown): Problem {
  const outcome = error instanceof Refusal && !Object.hasOwn(NOT_READY, error.code) ? outcomeOf(error.code) : undefined;
  const status = outcome && CHANGE_STATUS[outcome.status];
  if (!(error instanceof Refusal) || outcome === undefined || status === undefined || outcome.transient) {
    return problemOf(error);
  }
  return make(status, error, undefined);
}

/** @param error whatever was thrown. Of what is not for strangers they learn the code, and no more */
export function problemOf(error: unknown): Problem {
  if (error instanceof AttestError) {
    const status = STATUS[error.code];
    return make(status, error, status === 429 || status === 503 ? SOON_MS : undefined);
  }
  if (error instanceof Refusal && Object.hasOwn(NOT_READY, error.code)) {
    return make(503, error, error.retryAfterMs ?? NOT_READY[error.code]);
  }
  // Where something lies, and whom this Coordinator asks, is for its log.
  const isKnown = error instanceof Refusal || error instanceof EvidenceError || error instanceof EndorsementError;
  const what = isKnown ? "the Coordinator can't do it now" : "internal error";
  const told = { code: isKnown ? error.code : "internal", message: what, hint: "the log of the Coordinator says why" };
  return make(isKnown ? 503 : 500, told, isKnown ? LATER_MS : undefined);
}

type Told = Pick<CodedError, "code" | "message"> & Partial<Pick<CodedError, "where" | "got" | "want" | "hint">>;

function make(status: number, told: Told, retryAfterMs: number | undefined): Problem {
  const { code, message, where, got, want, hint } = told;
  return {
    type: "about:blank",
    title: TITLES[status] ?? "Error",
    status,
    code,
    detail: message,
    ...(where === undefined ? {} : { where }),
    ...(got === undefined ? {} : { got }),
    ...(want === undefined ? {} : { want }),
    ...(hint === undefined ? {} : { hint }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** Of `about:blank` the title is that of the status (RFC 9457 §4.2.1). */
const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};
