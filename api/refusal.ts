import { CodedError, type Details } from "../runtime/errors.ts";
import { EXIT } from "../runtime/exit.ts";
import { STATUS } from "./status.ts";

/** What the Coordinator refuses, what gRPC calls it, and how a program ends that is told so. One table for all. */
interface Outcome {
  readonly status: (typeof STATUS)[keyof typeof STATUS];
  readonly exit: number;
  /** Nothing is wrong with the one who asks: the same request may succeed later. */
  readonly transient: boolean;
}

const OUTCOMES = {
  /** No manifest is set yet: run `contrast set`. */
  no_manifest: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.notReady, transient: true },
  /** The Coordinator restarted and lacks its secrets: run `contrast recover`. */
  needs_recovery: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.notReady, transient: true },
  /** The Coordinator has its secrets: there is nothing to recover. */
  not_in_recovery: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** The seed is not the one of this history: use the seed share that belongs to it. */
  wrong_seed: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The caller showed no evidence: only a confidential VM may ask for this. */
  evidence_missing: { status: STATUS.UNAUTHENTICATED, exit: EXIT.refused, transient: false },
  /** The evidence is good and the manifest does not list its policy: set a manifest that does. */
  policy_not_allowed: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The evidence matches no set of reference values. */
  reference_values_mismatch: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The caller's key is not in WorkloadOwnerKeyDigests: use an owner's key. */
  not_owner: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The caller's key is not in SeedshareOwnerPubKeys: use a seed share owner's key. */
  not_seedshare_owner: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The owner who recovers has pinned no deployment: run `contrast verify` while the Coordinator is active. */
  not_pinned: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The stored state is not the deployment that an owner knows, or an older state of it: do not recover it. */
  pin_mismatch: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** A stored change of the manifest lacks an owner's signature: whoever made it up has the seed. */
  unauthorized_history: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The stored history does not continue the one that is in force, which stays. */
  another_history: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The Coordinator does not know what is in force, so it serves nothing: it follows by itself, ask again. */
  stale_state: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** Two histories don't continue each other: stop all Coordinators, and decide which one is right. */
  history_forked: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** The store shows an older pointer than one that was seen: restore its latest state. */
  state_rolled_back: { status: STATUS.DATA_LOSS, exit: EXIT.failed, transient: false },
  /** The peer is no Coordinator by the manifest, so it is given no secret. */
  not_coordinator: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The peer is not launched as this Coordinator is, nor as CONTRAST_PEER_POLICIES says: its secrets are not taken. */
  peer_not_accepted: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** What a peer handed over does not fit to the stored history, or to itself. */
  bad_handover: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The signature is not over this change: sign again. */
  bad_signature: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The change has no owner's signature: use the CLI of this version. */
  signature_missing: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The change has fewer owners' signatures than the manifest asks for: have other owners sign it, too. */
  too_few_signatures: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** As many changes wait for signatures as may: take one back, or set one. */
  too_many_pending: { status: STATUS.RESOURCE_EXHAUSTED, exit: EXIT.failed, transient: false },
  /** No owner, or not this one, signed such a change: look at those that there are. */
  not_pending: { status: STATUS.NOT_FOUND, exit: EXIT.failed, transient: false },
  /** The signature is for another generation of the mesh CA: verify, then sign again. */
  signature_outdated: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The active manifest names no owner, so nobody may change it: make a new deployment. */
  immutable: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** Somebody else set a manifest in between: look at it, then set again. */
  conflict: { status: STATUS.ABORTED, exit: EXIT.failed, transient: false },
  /** The client speaks no protocol of this version: update the older of the two. */
  version_unsupported: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** The bytes of the request are not what the method takes: use a client of this version. */
  malformed_request: { status: STATUS.INVALID_ARGUMENT, exit: EXIT.failed, transient: false },
  /** No request of this kind is so large, or the Coordinator has no memory for it: raise its memory limit. */
  request_too_large: { status: STATUS.RESOURCE_EXHAUSTED, exit: EXIT.refused, transient: false },
  /** The history has no room for another manifest: raise the memory limit of the Coordinator. */
  history_too_large: { status: STATUS.RESOURCE_EXHAUSTED, exit: EXIT.failed, transient: false },
  /** The manifest is malformed: correct it. */
  invalid_manifest: { status: STATUS.INVALID_ARGUMENT, exit: EXIT.usage, transient: false },
  /** The annex is malformed, or not what an amendment may make of the one in force. */
  invalid_annex: { status: STATUS.INVALID_ARGUMENT, exit: EXIT.usage, transient: false },
  /** The annex names a ciphertext that is not there, or that is not of this name, version and readers: seal it again. */
  not_sealed: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** No owner allowed to format this volume, or all leaves are used: `contrast volume allow-format`. */
  no_format_grant: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The names of a policy make a certificate chain that no proxy would accept: use fewer, or shorter ones. */
  certificate_too_long: { status: STATUS.INVALID_ARGUMENT, exit: EXIT.usage, transient: false },
  /** The policies that came along are not those that the manifest lists: run `generate` again. */
  policy_mismatch: { status: STATUS.INVALID_ARGUMENT, exit: EXIT.usage, transient: false },
  /** The new root CA key is not the one that this Coordinator prepared: prepare the rekey anew, there, and sign that. */
  rekey_not_prepared: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** Only a Coordinator of version 0.2 says so: seed share owners can't change there. Upgrade it. */
  seedshare_owners_changed: { status: STATUS.INVALID_ARGUMENT, exit: EXIT.failed, transient: false },
  /** The manifest trusts a software TEE and this Coordinator was not told to: CONTRAST_ALLOW_INSECURE=1. */
  insecure_not_allowed: { status: STATUS.PERMISSION_DENIED, exit: EXIT.refused, transient: false },
  /** The stored state is damaged: restore the record from a backup. */
  damaged_state: { status: STATUS.DATA_LOSS, exit: EXIT.failed, transient: false },
  /** More is asked at this moment than can be done: try again after the hinted time. */
  overloaded: { status: STATUS.RESOURCE_EXHAUSTED, exit: EXIT.failed, transient: true },
  /** The Coordinator's clock lies outside the validity of its CA: correct the clock, or set the manifest again. */
  clock_out_of_range: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** The Coordinator's clock says a time before its program was built: correct the clock. */
  clock_before_build: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** It says a time before a vendor signed what the Coordinator has verified: correct the clock. */
  clock_before_vendor: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** It says a time before the manifest was made: correct the clock, there or where the manifest was made. */
  clock_before_manifest: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** The Coordinator was given collateral of before Intel's latest evaluation: look at CONTRAST_COLLATERAL_PROXY. */
  collateral_superseded: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** Whoever asked no longer waits for the answer, so nothing was done. */
  deadline_exceeded: { status: STATUS.DEADLINE_EXCEEDED, exit: EXIT.failed, transient: true },
  /** A record was written by a version of the Coordinator that this one does not know: run that one, or a later one. */
  unknown_state_version: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** Another process has the state directory: stop it, or use another directory. */
  state_locked: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** The state directory can't be locked: put it on a file system with flock(2). */
  lock_unavailable: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
  /** A vendor's service did not answer: look at the network and CONTRAST_COLLATERAL_PROXY. */
  vendor_unreachable: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** The state could not be written; the old one is still in force. */
  state_not_written: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** The Kubernetes API, which has the state, gives no answer: look at the API server and at network policies. */
  state_unavailable: { status: STATUS.UNAVAILABLE, exit: EXIT.failed, transient: true },
  /** The Coordinator's service account lacks a right on the Kubernetes API: apply deploy/coordinator.yml. */
  state_forbidden: { status: STATUS.FAILED_PRECONDITION, exit: EXIT.failed, transient: false },
} as const satisfies Record<string, Outcome>;

export type RefusalCode = keyof typeof OUTCOMES;

/** A request that the Coordinator does not grant. */
export class Refusal extends CodedError<RefusalCode> {
  /** When to try again, in milliseconds; undefined where the usual time of its code will do. */
  readonly retryAfterMs: number | undefined;

  constructor(code: RefusalCode, message: string, details: Details & { readonly retryAfterMs?: number } = {}) {
    super(code, message, details);
    this.retryAfterMs = details.retryAfterMs;
  }
}

export function outcomeOf(code: string): Outcome | undefined {
  return Object.hasOwn(OUTCOMES, code) ? OUTCOMES[code as RefusalCode] : undefined;
}
