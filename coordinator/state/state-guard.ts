import type { KeyObject } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";
import type { Step } from "../../manifest/history.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { SerialQueue } from "../../runtime/serial-queue.ts";
import type { Secret } from "../../runtime/secret.ts";
import {
  type AmendRequest,
  type AmendResult,
  type GrantRequest,
  leaveAmendmentPending,
  makeAmendment,
  useGrant,
} from "./amend.ts";
import { annexOf, readableBy, secretsOf } from "./annex-in-force.ts";
import type { Authority } from "./authority.ts";
import { comparePointers, type Relation } from "./compare-pointers.ts";
import { followAmendments } from "./follow.ts";
import { type Handover, handoverOf, openHandover } from "./handover.ts";
import { readLatestInsecure, readPointerAt, readSteps, readTransition } from "./history.ts";
import type { Obstacle } from "./may-serve.ts";
import { OwnMoves } from "./own-moves.ts";
import { type PreparedSeed, prepareSeed } from "./prepared-seed.ts";
import type { PendingChange } from "./pending.ts";
import type { Phase } from "./phase.ts";
import { type Latest, type LatestInsecure, parseLatestInsecure, verifyLatest } from "./pointer.ts";
import { openHistory, type Pending, type RecoverRequest, type RecoverResult, takeShare } from "./recover.ts";
import { provesRekey } from "./rekey-proof.ts";
import { RecentlySealed, removeUnnamed } from "./secret-garbage.ts";
import { openInForce, storeSealed } from "./sealed-secrets.ts";
import type { Roots } from "./roots.ts";
import type { SecretLabel } from "./sealing.ts";
import type { SeedShares } from "./seed-shares.ts";
import { leavePending, makeChange, type SetRequest, type SetResult } from "./set.ts";
import type { Snapshot } from "./snapshot.ts";
import { Standing } from "./standing.ts";
import type { StateOptions } from "./state-options.ts";
import { ownersOf, readOwnersInsecure } from "./stored-owners.ts";
import { forkedHistory, ROLLED_BACK_HINT, takeOver } from "./take-over.ts";

/**
 * Guards the state of the Coordinator. What is in force is an immutable snapshot; `set`, `amend`, `useFormatGrant`,
 * `recover`, `follow`, `adopt` and `takeOver` make a new one and replace the old one by a single assignment, after everything
 * that can fail has succeeded. So every request sees one snapshot, whole, and a failed change is no change. Changes happen
 * one after another.
 *
 * Where several Coordinators share a store, each is told what the store and its peers show (`observe`, `hear`), and serves
 * only while that is what it has in force itself (standing.ts).
 */
type State =
  | { readonly phase: "empty" | "recovery" }
  | { readonly phase: "known"; readonly snapshot: Snapshot; readonly standing: Standing };

export interface History {
  /** Oldest first. */
  readonly steps: readonly Step[];
  readonly policies: readonly Buffer[];
  readonly seedShares: SeedShares;
  readonly authority: Authority;
}

/**
 * What a look at the store found: what is in force, a later pointer, an earlier one, another history, or nothing that says
 * anything about what is in force.
 */
export type Sighting = "confirmed" | "moved" | "rolled_back" | "forked" | "nothing";

/** What a Coordinator tells a peer. */
export interface Told {
  /** To what is in force here. */
  readonly pointer: Uint8Array;
  /** Where two histories were found: two pointers with one number. Else none. */
  readonly fork: readonly Uint8Array[];
  /** The transition that made the seed that signed the pointer; nothing: the first one did. */
  readonly rekey?: Uint8Array | undefined;
}

export class StateGuard {
  readonly #options: StateOptions & { readonly store: OwnMoves };
  readonly #listeners = new Set<() => void>();
  #state: State;
  #owners: ReadonlySet<string>;
  #pending: Pending | undefined;
  #prepared: PreparedSeed | undefined;
  #announced: Phase;
  readonly #sealed = new RecentlySealed();
  /** The outcome of comparisons that a peer asks for every second. */
  readonly #compared = new Map<
    string,
    { readonly relation: Relation; readonly atTheirs: LatestInsecure | undefined }
  >();
  readonly #signatures = new Map<string, LatestInsecure>();
  readonly #queue = new SerialQueue();

  private constructor(options: StateOptions, state: State, owners: ReadonlySet<string>) {
    this.#options = { ...options, store: new OwnMoves(options.store, options.sharing?.monotonic ?? (() => 0)) };
    this.#state = state;
    this.#owners = owners;
    this.#announced = this.phase;
  }

  static async load(options: StateOptions): Promise<StateGuard> {
    if (options.store.shared && options.sharing === undefined) throw new Error("a shared store needs a clock");
    const latest = await readLatestInsecure(options.store);
    if (latest === undefined) return new StateGuard(options, { phase: "empty" }, new Set());
    // A state of another version is refused at the start, when who started this one is there to see it.
    await readTransition(options.store, latest.transition);
    return new StateGuard(options, { phase: "recovery" }, await readOwnersInsecure(options.store, latest));
  }

  get phase(): Phase {
    if (this.#state.phase !== "known") return this.#state.phase;
    const { obstacle } = this.#state.standing;
    if (obstacle === undefined) return "active";
    return obstacle === "forked" ? "forked" : "stale";
  }

  /** How many more shares it takes to recover; undefined until the first was given. */
  get missingShares(): number | undefined {
    return this.#pending?.missing;
  }

  /** SHA-256, hex, of the keys of the seed share owners whose shares were taken, as long as they are too few. */
  get sharesGiven(): readonly string[] {
    return [...(this.#pending?.shares.keys() ?? [])].map((key) => sha256Hex(Buffer.from(key, "hex")));
  }

  /**
   * SHA-256, hex, of the keys of all owners. In recovery they are those of the stored manifest, which nobody has verified:
   * they may say who is let in first, and nothing else.
   */
  get ownersInsecure(): ReadonlySet<string> {
    return this.#owners;
  }

  /** Calls back after every change of state. @returns what ends that */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What may be served. @throws Refusal `no_manifest`, `needs_recovery`, `stale_state`, `history_forked` */
  active(): Snapshot {
    const { snapshot, standing } = this.#known();
    if (standing.obstacle === undefined) return snapshot;
    throw refusalOf(standing.obstacle, snapshot, standing);
  }

  /**
   * What a change follows. Where something else is in force already, whoever asks for the change has not seen that.
   *
   * @throws as `active`, and Refusal `conflict`
   */
  changeable(): Snapshot {
    const { snapshot, standing } = this.#known();
    if (standing.obstacle !== "moved") return this.active();
    throw new Refusal("conflict", "another Coordinator has put something else in force", {
      got: snapshot.latest.transition,
      hint: "run `contrast verify`, look at what changed, then set again",
    });
  }

  /** What was in force when this was last known, to decide about peers by; undefined: there are no secrets. */
  get known(): Snapshot | undefined {
    return this.#state.phase === "known" ? this.#state.snapshot : undefined;
  }

  /** How that stands to what the store and the peers say. */
  get standing(): Standing | undefined {
    return this.#state.phase === "known" ? this.#state.standing : undefined;
  }

  /** There are secrets to be had from a peer: it lacks them, or others are in force. */
  get lacks(): boolean {
    if (this.#state.phase === "known") return this.#state.standing.isMoved && this.phase !== "forked";
    return this.#state.phase === "recovery";
  }

  /**
   * What a peer may have: what is served, and what waits for a peer to have it, too.
   *
   * @throws as `active`
   */
  handOver(): Handover {
    const { snapshot, standing } = this.#known();
    return standing.obstacle === "held" ? handoverOf(snapshot) : handoverOf(this.active());
  }

  /**
   * @param abandoned where it fires before its turn, nothing is done, and its reason is thrown
   * @throws Refusal of many codes; the state is then as before
   */
  set(request: SetRequest, abandoned?: AbortSignal): Promise<SetResult> {
    return this.#inTurn(() => this.#set(request), abandoned);
  }

  /**
   * Makes a seed for a rekey, which nothing uses before owners have signed the root CA key that it gives.
   *
   * @throws Refusal `no_manifest`, `needs_recovery`
   */
  prepareRekey(): PreparedSeed {
    const { now, random } = this.#options;
    const active = this.active();
    this.#prepared = prepareSeed(this.#prepared, active, now(active.manifest), random);
    return this.#prepared;
  }

  /**
   * As `set`; but where it takes more owners' signatures than there are, those that are there are kept. Not of a rekey: its
   * seed is in this Coordinator alone.
   *
   * @throws as `set`, and `too_many_pending`
   */
  propose(request: SetRequest, abandoned?: AbortSignal): Promise<SetResult | { readonly pending: PendingChange }> {
    return this.#inTurn(async () => {
      const isPlain = this.#state.phase !== "empty" && request.newRootKey === undefined;
      const before = isPlain ? this.changeable() : undefined;
      const pending = before && (await leavePending(before, request, this.#options));
      return pending === undefined ? this.#set(request) : { pending };
    }, abandoned);
  }

  /**
   * Seals a value for an annex that is to name it. Nothing is in force by that.
   *
   * @param owner SHA-256 of the key of the workload owner who gives it, hex
   * @returns SHA-256 of the record, hex
   * @throws as `active`, and Refusal `too_many_pending`, `state_not_written`
   */
  sealSecret(label: SecretLabel, value: Secret, owner: string): Promise<string> {
    return this.#inTurn(async () => {
      const { seed } = this.active();
      this.#sealed.requireRoom(owner, this.#monotonic());
      const sealed = await storeSealed(seed, label, value, this.#options);
      this.#sealed.add(sealed, owner, this.#monotonic());
      return sealed;
    });
  }

  /**
   * Removes what an annex of before named, or what none did in the end. For a store that is this Coordinator's alone: other
   * stores do so themselves (`sweep`).
   *
   * @returns how many there were
   * @throws as `active`, and Refusal `state_not_written`
   */
  removeSecrets(roots: Roots): Promise<number> {
    return this.#inTurn(async () => {
      const { secrets: named } = await roots.namedBy(this.active().latest.raw);
      return removeUnnamed(this.#options.store, named, this.#sealed.waiting(this.#monotonic()));
    });
  }

  /**
   * Puts another annex in force.
   *
   * @param leavePending where it takes more owners' signatures than there are, those that are there are kept
   * @throws Refusal of many codes; the state is then as before
   */
  amend(
    request: AmendRequest,
    leavePending: boolean,
    abandoned?: AbortSignal,
  ): Promise<AmendResult | { readonly pending: PendingChange }> {
    return this.#inTurn(async () => {
      const before = this.changeable();
      const { store } = this.#options;
      const pending = leavePending ? await leaveAmendmentPending(before, request, store) : undefined;
      if (pending !== undefined) return { pending };
      this.#requireNotRolledBack();
      const result = await this.#orFork(() => makeAmendment(before, request, store));
      await this.#begin(result.snapshot, true);
      return result;
    }, abandoned);
  }

  /**
   * Counts a leave to format a volume as used: it is in the history when this returns.
   *
   * @param requestBy who asks for what, by what is in force then: a set may have come first
   * @throws as `active`, what `requestBy` throws, and Refusal `no_format_grant`, `state_not_written`; the state is then as
   *   before
   */
  useFormatGrant(requestBy: (active: Snapshot) => GrantRequest, abandoned?: AbortSignal): Promise<AmendResult> {
    return this.#inTurn(async () => {
      for (let attempt = 1; ; attempt++) {
        if (this.lacks) await this.#follow();
        const before = this.active();
        this.#requireNotRolledBack();
        const request = requestBy(before);
        try {
          const result = await this.#orFork(() => useGrant(before, request, this.#options.store));
          // Nobody waits for peers: what is in the history is used, whoever serves next.
          this.#enter(result.snapshot, this.#options.store.swappedAt, { hold: false, isAmendment: true });
          return result;
        } catch (error) {
          if (!(error instanceof Refusal) || error.code !== "conflict") throw error;
          // Another Coordinator was quicker: with what it has put in force, there may be a leave left.
          if (attempt < USE_ATTEMPTS && (await this.#follow()) !== undefined) continue;
          throw movedOn();
        }
      }
    }, abandoned);
  }

  /**
   * Takes what another Coordinator has put in force, where that is an amendment.
   *
   * @returns undefined where it is not, or nothing is lacking
   * @throws as `followAmendments`; the state is then as before
   */
  follow(): Promise<Snapshot | undefined> {
    return this.#inTurn(async () => (this.lacks ? this.#follow() : undefined));
  }

  /**
   * The secrets that one of these may read.
   *
   * @param readers as the annex names them
   * @returns by name, and of each the latest version first
   * @throws Refusal `damaged_state`, and what the store throws
   */
  async secretsFor(
    { seed, annex }: Snapshot,
    readers: ReadonlySet<string>,
  ): Promise<{ readonly name: string; readonly version: number; readonly value: Secret }[]> {
    if (annex === undefined) return [];
    const { store } = this.#options;
    return Promise.all(
      readableBy(annex.annex, readers).map(async (secret) => {
        const { name, version } = secret;
        return { name, version, value: await openInForce({ seed, annex }, secret, store) };
      }),
    );
  }

  /**
   * @throws Refusal `not_seedshare_owner`, `pin_mismatch`, `wrong_seed` and others; the state is then as before, and so
   *   are the shares that were given, unless they turned out together to be of another history
   */
  recover(request: RecoverRequest, abandoned?: AbortSignal): Promise<RecoverResult> {
    return this.#inTurn(() => this.#recover(request), abandoned);
  }

  /**
   * Takes what a peer has handed over.
   *
   * @returns undefined where nothing is lacking any more
   * @throws as `openHandover`; the state is then as before
   */
  adopt(handover: Handover, giver: VerifiedClaimant): Promise<Snapshot | undefined> {
    return this.#inTurn(async () => {
      if (!this.lacks) return undefined;
      const askedAt = this.#monotonic();
      const snapshot = await this.#orFork(() => openHandover(handover, giver, this.known, this.#options));
      this.#enter(snapshot, askedAt, { hold: false });
      return snapshot;
    });
  }

  /**
   * Where what is in force is known and nobody has its secrets.
   *
   * @returns undefined where nothing is lacking any more
   * @throws as `takeOver`; the state is then as before
   */
  takeOver(ownPolicy: string): Promise<Snapshot | undefined> {
    return this.#inTurn(async () => {
      if (this.#state.phase !== "known" || !this.lacks) return undefined;
      const { snapshot: known, standing } = this.#state;
      const snapshot = await this.#orFork(() => takeOver(known, standing.highest, ownPolicy, this.#options));
      await this.#begin(snapshot);
      return snapshot;
    });
  }

  async history(): Promise<History> {
    const { store } = this.#options;
    const { latest, seedShares, authority } = this.active();
    const steps = await readSteps(store, latest.transition);
    const digests = new Set(steps.flatMap(({ manifest }) => [...parseManifest(manifest).policies.keys()]));
    const policies = await Promise.all([...digests].map((digest) => store.get("policies", digest)));
    return { steps, policies, seedShares, authority };
  }

  /**
   * Is told what a look at the pointer in the store found.
   *
   * @param at when the look began
   * @throws Refusal `damaged_state`, `unknown_state_version`: then nothing is confirmed
   */
  async observe(raw: Buffer | undefined, at: number): Promise<Sighting> {
    const found = raw && parseLatestInsecure(raw, "latest");
    if (this.#state.phase === "empty" && found !== undefined && found.digest !== this.#options.store.underWay) {
      // Somebody else has set the first manifest.
      await readTransition(this.#options.store, found.transition);
      const owners = await readOwnersInsecure(this.#options.store, found);
      if (this.phase === "empty") {
        this.#state = { phase: "recovery" };
        this.#owners = owners;
      }
      this.#announce();
      return "moved";
    }
    if (this.#state.phase !== "known") return "nothing";
    const { snapshot, standing } = this.#state;
    if (at < standing.enteredAt || (found !== undefined && found.digest === this.#options.store.underWay))
      return "nothing";
    const sighting = await this.#judge(found, at, snapshot, standing);
    this.#announce();
    return sighting;
  }

  /**
   * Is told what a peer has in force.
   *
   * @param told by a Coordinator of this deployment
   * @param from SHA-256 of the key of its connection, hex
   * @returns what to tell it
   * @throws Refusal `needs_recovery` where nothing is known here, `wrong_seed` where another seed signed it, `damaged_state`
   */
  async hear({ pointer, fork, rekey }: Told, from: string): Promise<Told> {
    const { snapshot, standing } = this.#known();
    if (rekey !== undefined && provesRekey(rekey, snapshot)) {
      standing.supersede();
      this.#announce();
    }
    const theirs = this.#signed(pointer, snapshot);
    // Two are a proof. What else a peer sends is not looked at.
    const [one, other] = fork.slice(0, 2).map((raw) => this.#signed(raw, snapshot));
    if (one !== undefined && one.sequence === other?.sequence && one.digest !== other.digest)
      standing.split(one, other);
    const { relation, atTheirs } = await this.#compare(snapshot, theirs);
    if (relation === "later") standing.move(theirs);
    if (relation === "forked") standing.split(atTheirs ?? snapshot.latest, theirs);
    if (relation === "same") standing.release(from);
    this.#announce();
    return { pointer: snapshot.latest.raw, fork: standing.forkProof, rekey: snapshot.rekey };
  }

  /** Time passes: tells those who listen where that has changed something. */
  look(): void {
    this.#announce();
  }

  async #judge(
    found: LatestInsecure | undefined,
    at: number,
    { latest, seed }: Snapshot,
    standing: Standing,
  ): Promise<Sighting> {
    if (found?.digest === latest.digest) {
      standing.confirm(at);
      return "confirmed";
    }
    const verified = found && signedOrUndefined(found, seed.historyKey.publicKey);
    if (found !== undefined && verified === undefined) {
      // Another seed's: there was a rekey, or somebody writes into the store what he likes. A peer or an owner can tell.
      standing.move(undefined);
      return "moved";
    }
    if (verified === undefined || verified.sequence < latest.sequence) {
      standing.rollBack(at);
      return "rolled_back";
    }
    // At once, and then whether it continues what is in force.
    standing.move(verified);
    this.#announce();
    const rival = await readPointerAt(this.#options.store, verified, latest.sequence);
    if (rival?.digest === latest.digest) return "moved";
    standing.split(latest, rival ?? verified);
    return "forked";
  }

  /** A peer says the same every second: its signature is verified once. */
  #signed(raw: Uint8Array, { seed }: Snapshot): LatestInsecure {
    const digest = sha256Hex(raw);
    const before = this.#signatures.get(digest);
    if (before !== undefined) return before;
    const latest = verifyLatest(parseLatestInsecure(Buffer.from(raw), "the peer's pointer"), seed.historyKey.publicKey);
    return remember(this.#signatures, digest, latest);
  }

  async #compare({ latest }: Snapshot, theirs: LatestInsecure) {
    const key = `${latest.digest} ${theirs.digest}`;
    const before = this.#compared.get(key);
    if (before !== undefined) return before;
    const isLater = theirs.sequence > latest.sequence;
    const atTheirs = isLater ? undefined : await readPointerAt(this.#options.store, latest, theirs.sequence);
    return remember(this.#compared, key, { relation: comparePointers(latest, theirs, atTheirs), atTheirs });
  }

  /** What was found to be another history is remembered: nothing of this one may be served any more. */
  async #orFork<T>(work: () => Promise<T>): Promise<T> {
    const { standing, known } = this;
    try {
      return await work();
    } catch (error) {
      if (error instanceof Refusal && error.code === "history_forked" && known !== undefined) {
        standing?.split(known.latest, standing.highest);
        this.#announce();
      }
      this.#options.store.settle();
      throw error;
    }
  }

  async #set(request: SetRequest): Promise<SetResult> {
    const before = this.#state.phase === "empty" ? undefined : this.changeable();
    this.#requireNotRolledBack();
    const result = await this.#orFork(() => makeChange(before, request, this.#options, this.#prepared));
    await this.#begin(result.snapshot);
    return result;
  }

  #requireNotRolledBack(): void {
    if (this.standing?.isRolledBack !== true) return;
    throw new Refusal("state_rolled_back", "the store shows an older pointer than the one in force", {
      where: "latest",
      hint: ROLLED_BACK_HINT,
    });
  }

  /** Not where owners have replaced the seed: whoever has the one of before can sign pointers, and uses of leaves. */
  async #follow(): Promise<Snapshot | undefined> {
    if (this.#state.phase !== "known" || this.#state.standing.isSuperseded) return undefined;
    const { snapshot: known, standing } = this.#state;
    const askedAt = this.#monotonic();
    const snapshot = await this.#orFork(() => followAmendments(known, standing.highest, this.#options));
    // A peer may have told meanwhile that the seed is replaced, that there are two histories, or of a later pointer.
    if (snapshot === undefined || standing.isSuperseded || standing.fork !== undefined) return undefined;
    if (snapshot.latest.sequence < standing.highest.sequence) return undefined;
    this.#enter(snapshot, askedAt, { hold: false, isAmendment: true });
    return snapshot;
  }

  async #recover(request: RecoverRequest): Promise<RecoverResult> {
    // What a stale one knows is not in force any more: it is to be recovered, too, and has to be continued.
    const force = request.force || this.phase === "stale";
    const taken = await takeShare(this.known, this.#pending, { ...request, force }, this.#options);
    const { missing: missingShares } = taken.pending;
    this.#pending = missingShares > 0 ? taken.pending : undefined;
    if (missingShares > 0) return { missingShares, recovered: undefined };
    const recovered = await this.#orFork(() => openHistory(taken, this.#options));
    await this.#begin(recovered.snapshot);
    return { missingShares, recovered };
  }

  /** Puts in force what this Coordinator has made, and waits until a peer has it, too, or for a second. */
  async #begin(snapshot: Snapshot, isAmendment = false): Promise<void> {
    const { store, sharing } = this.#options;
    this.#enter(snapshot, store.swappedAt, { hold: sharing?.hold === true, isAmendment });
    await this.standing?.released();
    this.#announce();
  }

  #enter(
    snapshot: Snapshot,
    confirmedAt: number,
    { hold, isAmendment = false }: { readonly hold: boolean; readonly isAmendment?: boolean },
  ): void {
    const { shared } = this.#options.store;
    const monotonic = (): number => this.#monotonic();
    const livePeers = this.#options.sharing?.livePeers;
    this.#state = {
      phase: "known",
      snapshot,
      standing: new Standing(snapshot.latest, { monotonic, confirmedAt, hold, isAmendment, shared, livePeers }),
    };
    this.#owners = ownersOf(snapshot.manifest);
    this.#sealed.named(secretsOf(annexOf(snapshot)).map(({ sealed }) => sealed));
    this.#pending = undefined;
    this.#prepared = undefined;
    this.#options.store.settle();
    this.#compared.clear();
    this.#signatures.clear();
    this.#tell();
  }

  #known(): Extract<State, { readonly phase: "known" }> {
    if (this.#state.phase === "known") return this.#state;
    if (this.#state.phase === "empty") {
      throw new Refusal("no_manifest", "the Coordinator has no manifest", { hint: "run `contrast set`" });
    }
    throw new Refusal("needs_recovery", "the Coordinator was restarted and lacks its secrets", {
      hint: "run `contrast recover` with a seed share owner's key",
    });
  }

  #monotonic(): number {
    return this.#options.sharing?.monotonic() ?? 0;
  }

  #announce(): void {
    if (this.phase !== this.#announced) this.#tell();
  }

  #tell(): void {
    this.#announced = this.phase;
    for (const listener of this.#listeners) listener();
  }

  #inTurn<T>(change: () => Promise<T>, abandoned?: AbortSignal): Promise<T> {
    return this.#queue.run(() => {
      abandoned?.throwIfAborted();
      return change();
    });
  }
}

/** There are a few peers, and each says the same for long. */
const MOST_REMEMBERED = 64;

function remember<T>(known: Map<string, T>, key: string, value: T): T {
  if (known.size >= MOST_REMEMBERED) known.clear();
  known.set(key, value);
  return value;
}

/** So often a use is tried where other Coordinators move the pointer meanwhile. */
const USE_ATTEMPTS = 4;

function movedOn(): Refusal {
  return new Refusal("stale_state", "another Coordinator has put something else in force", {
    hint: "try again",
    retryAfterMs: SOON_MS,
  });
}

/** How soon to ask again, in milliseconds: a peer mostly has what lacks. */
const SOON_MS = 500;

function signedOrUndefined(found: LatestInsecure, historyKey: KeyObject): Latest | undefined {
  try {
    return verifyLatest(found, historyKey);
  } catch (error) {
    if (error instanceof Refusal && error.code === "wrong_seed") return undefined;
    throw error;
  }
}

function refusalOf(obstacle: Obstacle, { latest }: Snapshot, { fork }: Standing): Refusal {
  if (obstacle === "forked") return forkedHistory(fork?.one ?? latest, fork?.other ?? latest);
  const stale = (message: string): Refusal => {
    const hint = "it goes on by itself: try again; if it does not, look at its log";
    return new Refusal("stale_state", message, { hint, retryAfterMs: SOON_MS });
  };
  if (obstacle === "held") return stale("what is in force is so new that no other Coordinator has it yet");
  if (obstacle === "moved") return stale("another Coordinator has put something else in force");
  return stale("the store has not confirmed for too long what is in force");
}
