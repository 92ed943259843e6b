import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Store } from "../../store/store.ts";
import { requireOwnerKey, requireOwnersLeave } from "./authorize.ts";
import { parseUsable } from "./parse-manifest.ts";
import { type PendingChange, readPending, readProposal, removeOutdatedConsents, withdrawConsent } from "./pending.ts";
import type { EncodedHistory } from "./encoded-history.ts";
import type { SetResult } from "./set.ts";
import type { StateGuard } from "./state-guard.ts";

/** What owners do with the changes that wait for their signatures. */
export class PendingChanges {
  readonly #guard: Pick<StateGuard, "active" | "propose">;
  readonly #store: Store;

  readonly #history: Pick<EncodedHistory, "requireRoomFor">;

  constructor(
    guard: Pick<StateGuard, "active" | "propose">,
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
  async sign(request: SignRequest, abandoned?: AbortSignal): Promise<SetResult | { readonly pending: PendingChange }> {
    const { manifest: digest, callerKey, signature, ...rest } = request;
    const active = this.#guard.active();
    const signatures = signature === undefined ? [] : [signature];
    const place = {
      previous: Buffer.from(active.latest.transition, "hex"),
      meshKey: spkiDigest(active.authority.meshKey.publicKey),
    };
    // Asked before anything large is read for it.
    const change = { manifestDigest: Buffer.from(digest, "hex"), ...place };
    requireOwnersLeave(active.manifest, callerKey, { change, signatures, signedMeshKey: request.signedMeshKey });
    const manifest = await readProposal(this.#store, active, digest);
    const policies: Buffer[] = [];
    for (const hash of policiesOf(manifest)) policies.push(await this.#store.get("policies", hash));
    await this.#history.requireRoomFor([manifest, ...policies]);
    return this.#guard.propose({ ...rest, callerKey, signatures, manifest, policies }, abandoned);
  }

  /** @throws Refusal `not_owner`, `immutable`, `not_pending`, and what `active` throws */
  async drop(callerKey: string, manifest: string): Promise<PendingChange> {
    return withdrawConsent(this.#store, this.#guard.active(), manifest, callerKey);
  }

  /** Removes what a set has ended. */
  async tidy(): Promise<void> {
    await removeOutdatedConsents(this.#store, this.#guard.active());
  }
}

export interface SignRequest {
  /** SHA-256 of the manifest of the pending change, hex. */
  readonly manifest: string;
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

/** Then no further policy follows in one answer. */
const PART_BYTES = 512 * 1024;

/** Whether it may trust a software TEE is asked when it is set. @throws Refusal `invalid_manifest` */
function policiesOf(manifest: Buffer): string[] {
  return [...parseUsable(manifest, true).policies.keys()];
}
