import { Refusal } from "../../api/refusal.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Step } from "../../manifest/history.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { SerialQueue } from "../../runtime/serial-queue.ts";
import type { Authority } from "./authority.ts";
import { readLatestInsecure, readSteps, readTransition } from "./history.ts";
import type { PendingChange } from "./pending.ts";
import { openHistory, type Pending, type RecoverRequest, type RecoverResult, takeShare } from "./recover.ts";
import type { SeedShares } from "./seed-shares.ts";
import { leavePending, makeChange, type SetRequest, type SetResult } from "./set.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateOptions } from "./state-options.ts";
import { ownersOf, readOwnersInsecure } from "./stored-owners.ts";

/**
 * Guards the state of the Coordinator. The state is an immutable snapshot; `set` and `recover` make a new one and
 * replace the old one by a single assignment, after everything that can fail has succeeded. So every request sees one
 * snapshot, whole, and a failed change is no change. Changes happen one after another.
 *
 * - empty: no manifest was ever set
 * - recovery: there is a history and its seed is not known; nothing of it is served
 * - active: a manifest is in force and the secrets are there
 */
export type State =
  | { readonly phase: "empty" }
  | { readonly phase: "recovery" }
  | { readonly phase: "active"; readonly snapshot: Snapshot };

export interface History {
  /** Oldest first. */
  readonly steps: readonly Step[];
  readonly policies: readonly Buffer[];
  readonly seedShares: SeedShares;
  readonly authority: Authority;
}

export class StateGuard {
  readonly #options: StateOptions;
  readonly #listeners = new Set<() => void>();
  #state: State;
  #owners: ReadonlySet<string>;
  #pending: Pending | undefined;
  readonly #queue = new SerialQueue();

  private constructor(options: StateOptions, state: State, owners: ReadonlySet<string>) {
    this.#options = options;
    this.#state = state;
    this.#owners = owners;
  }

  static async load(options: StateOptions): Promise<StateGuard> {
    const latest = await readLatestInsecure(options.store);
    if (latest === undefined) return new StateGuard(options, { phase: "empty" }, new Set());
    // A state of another version is refused at the start, when who started this one is there to see it.
    await readTransition(options.store, latest.transition);
    return new StateGuard(options, { phase: "recovery" }, await readOwnersInsecure(options.store, latest));
  }

  get phase(): State["phase"] {
    return this.#state.phase;
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

  /** @throws Refusal `no_manifest`, `needs_recovery` */
  active(): Snapshot {
    if (this.#state.phase === "active") return this.#state.snapshot;
    if (this.#state.phase === "empty") {
      throw new Refusal("no_manifest", "the Coordinator has no manifest", { hint: "run `contrast set`" });
    }
    throw new Refusal("needs_recovery", "the Coordinator was restarted and lacks its secrets", {
      hint: "run `contrast recover` with a seed share owner's key",
    });
  }

  /**
   * @param abandoned where it fires before its turn, nothing is done, and its reason is thrown
   * @throws Refusal of many codes; the state is then as before
   */
  set(request: SetRequest, abandoned?: AbortSignal): Promise<SetResult> {
    return this.#inTurn(() => this.#set(request), abandoned);
  }

  /**
   * As `set`; but where it takes more owners' signatures than there are, those that are there are kept.
   *
   * @throws as `set`, and `too_many_pending`
   */
  propose(request: SetRequest, abandoned?: AbortSignal): Promise<SetResult | { readonly pending: PendingChange }> {
    return this.#inTurn(async () => {
      const before = this.#state.phase === "empty" ? undefined : this.active();
      const pending = before && (await leavePending(before, request, this.#options));
      return pending === undefined ? this.#set(request) : { pending };
    }, abandoned);
  }

  /**
   * @throws Refusal `not_seedshare_owner`, `pin_mismatch`, `wrong_seed` and others; the state is then as before, and so
   *   are the shares that were given, unless they turned out together to be of another history
   */
  recover(request: RecoverRequest, abandoned?: AbortSignal): Promise<RecoverResult> {
    return this.#inTurn(() => this.#recover(request), abandoned);
  }

  async history(): Promise<History> {
    const { store } = this.#options;
    const { latest, seedShares, authority } = this.active();
    const steps = await readSteps(store, latest.transition);
    const digests = new Set(steps.flatMap(({ manifest }) => [...parseManifest(manifest).policies.keys()]));
    const policies = await Promise.all([...digests].map((digest) => store.get("policies", digest)));
    return { steps, policies, seedShares, authority };
  }

  async #set(request: SetRequest): Promise<SetResult> {
    const before = this.#state.phase === "empty" ? undefined : this.active();
    const result = await makeChange(before, request, this.#options);
    this.#enter(result.snapshot);
    return result;
  }

  async #recover(request: RecoverRequest): Promise<RecoverResult> {
    const active = this.#state.phase === "active" ? this.#state.snapshot : undefined;
    const taken = await takeShare(active, this.#pending, request, this.#options);
    const { missing: missingShares } = taken.pending;
    this.#pending = missingShares > 0 ? taken.pending : undefined;
    if (missingShares > 0) return { missingShares, recovered: undefined };
    const recovered = await openHistory(taken, this.#options);
    this.#enter(recovered.snapshot);
    return { missingShares, recovered };
  }

  #enter(snapshot: Snapshot): void {
    this.#state = { phase: "active", snapshot };
    this.#owners = ownersOf(snapshot.manifest);
    this.#pending = undefined;
    for (const listener of this.#listeners) listener();
  }

  #inTurn<T>(change: () => Promise<T>, abandoned: AbortSignal | undefined): Promise<T> {
    return this.#queue.run(() => {
      abandoned?.throwIfAborted();
      return change();
    });
  }
}
