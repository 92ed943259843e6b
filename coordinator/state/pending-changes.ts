import { type ChangeSignature, faultOfChange } from "../../manifest/change-signature.ts";
import { workloadOwnersOf } from "../../manifest/manifest.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Store } from "../../store/store.ts";
import { requireOwnerKey, requireOwnersLeave } from "./authorize.ts";
import { parseUsable } from "./parse-manifest.ts";
import {
  type PendingChange,
  readPending,
  readProposal,
  readProposedAnnex,
  removeOutdatedConsents,
  withdrawConsent,
} from "./pending.ts";
import type { AmendResult } from "./amend.ts";
import type { EncodedHistory } from "./encoded-history.ts";
import type { SetResult } from "./set.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateGuard } from "./state-guard.ts";

/** What owners do with the changes that wait for their signatures. */
export class PendingChanges {
  readonly #guard: Pick<StateGuard, "active" | "propose" | "amend">;
  readonly #store: Store;

  readonly #history: Pick<EncodedHistory, "requireRoomFor">;

  constructor(
    guard: Pick<StateGuard, "active" | "propose" | "amend">,
    store: Store,
    history: Pick<EncodedHistory, "requireRoomFor">,
  ) {
    this.#guard = guard;
    this.#store = store;
    this.#history = history;
  }

  /**
   * @param callerKey SHA-256 of the connection's SubjectPublicKeyInfo, hex
   * @throws Refusal `not_owner`, `immutable`, and what `active` throws
   */
  async list(callerKey: string): Promise<PendingChange[]> {
    const active = this.#guard.active();
    requireOwnerKey(active.manifest, callerKey, "caller's");
    return readPending(this.#store, active);
  }

  /**
   * A part of a pending change: so much that one answer is not too large.
   *
   * @param manifest SHA-256, hex
   * @param from how many of its policies the caller has; 0: the manifest comes along
   * @throws Refusal `not_owner`, `immutable`, `not_pending`, and what `active` throws
   */
  async read(callerKey: string, manifest: string, from: number): Promise<{ manifest: Buffer; policies: Buffer[] }> {
    const active = this.#guard.active();
    requireOwnerKey(active.manifest, callerKey, "caller's");
    const bytes = await readProposal(this.#store, active, manifest);
    const policies: Buffer[] = [];
    let size = 0;
    for (const hash of policiesOf(bytes).slice(from)) {
      const policy = await this.#store.get("policies", hash);
      policies.push(policy);
      size += policy.length;
      if (size >= PART_BYTES) break;
    }
    return { manifest: from === 0 ? bytes : Buffer.alloc(0), policies };
  }

  /**
   * Adds an owner's signature to a pending change. The one that is still missing performs it.
   *
   * @throws Refusal `not_pending`, `history_too_large`, and what `propose` throws
   */
  async sign(
    request: SignRequest,
    abandoned?: AbortSignal,
  ): Promise<SetResult | AmendResult | { readonly pending: PendingChange }> {
    const { subject, callerKey, signature, revoke, latestTransition, signedMeshKey } = request;
    const active = this.#guard.active();
    const signatures = signature === undefined ? [] : [signature];
    // Asked before anything large is read for it.
    const kind = signedAs(active, subject, { callerKey, signatures, signedMeshKey });
    const common = { callerKey, signatures, latestTransition, signedMeshKey };
    if (kind === "amendment") {
      const annex = await readProposedAnnex(this.#store, active, subject);
      await this.#history.requireRoomFor([annex]);
      return this.#guard.amend({ ...common, annex }, true, abandoned);
    }
    const manifest = await readProposal(this.#store, active, subject);
    const policies: Buffer[] = [];
    for (const hash of policiesOf(manifest)) policies.push(await this.#store.get("policies", hash));
    await this.#history.requireRoomFor([manifest, ...policies]);
    return this.#guard.propose({ ...common, revoke, manifest, policies }, abandoned);
  }

  /** @throws Refusal `not_owner`, `immutable`, `not_pending`, and what `active` throws */
  async drop(callerKey: string, subject: string): Promise<PendingChange> {
    return withdrawConsent(this.#store, this.#guard.active(), subject, callerKey);
  }

  /** Removes what a set has ended. */
  async tidy(): Promise<void> {
    await removeOutdatedConsents(this.#store, this.#guard.active());
  }
}

export interface SignRequest {
  /** SHA-256 of the manifest of the pending change, or of the annex of an amendment, hex. */
  readonly subject: string;
  /** SHA-256 of the transition that must be the latest; undefined: any. */
  readonly latestTransition: Uint8Array | undefined;
  /** SHA-256 of the caller's SubjectPublicKeyInfo, hex. */
  readonly callerKey: string;
  readonly signature: ChangeSignature | undefined;
  /** The mesh CA key that the signature is said to be over; undefined: nobody says. */
  readonly signedMeshKey: Uint8Array | undefined;
  /** No mesh CA of before stays trusted, where this signature performs the change. */
  readonly revoke: boolean;
}

/**
 * Which of the two it is that the owner signed: the signature is good for one alone.
 *
 * @throws Refusal as `requireOwnersLeave`
 */
function signedAs(
  active: Snapshot,
  subject: string,
  signed: Pick<SignRequest, "callerKey" | "signedMeshKey"> & { readonly signatures: readonly ChangeSignature[] },
): "set" | "amendment" {
  const digest = Buffer.from(subject, "hex");
  const place = {
    previous: Buffer.from(active.latest.transition, "hex"),
    meshKey: spkiDigest(active.authority.meshKey.publicKey),
  };
  const amendment = { manifestDigest: Buffer.from(active.manifestDigest, "hex"), ...place, annex: digest };
  const { callerKey, ...given } = signed;
  // With a threshold above 1 it is one of too few, and good.
  const fault = faultOfChange({ ...workloadOwnersOf(active.manifest), threshold: 1 }, amendment, given.signatures);
  if (fault === undefined) return "amendment";
  requireOwnersLeave(active.manifest, callerKey, { change: { manifestDigest: digest, ...place }, ...given });
  return "set";
}

/** Then no further policy follows in one answer. */
const PART_BYTES = 512 * 1024;

/** Whether it may trust a software TEE is asked when it is set. @throws Refusal `invalid_manifest` */
function policiesOf(manifest: Buffer): string[] {
  return [...parseUsable(manifest, true).policies.keys()];
}
