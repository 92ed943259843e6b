import { timingSafeEqual } from "node:crypto";
import { Refusal } from "../api/refusal.ts";
import { policyHash } from "../manifest/initdata.ts";
import { ManifestError } from "../manifest/error.ts";
import { type Manifest, parseManifest } from "../manifest/manifest.ts";
import { longChains } from "../manifest/certificate-size.ts";
import type { ChangeSignature } from "../manifest/change-signature.ts";
import { HistoryCheck, HistoryError, type Step } from "../manifest/history.ts";
import type { Transition } from "../manifest/transition.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../pki/keys.ts";
import { SEED_LENGTH } from "../pki/seed-share.ts";
import { Secret } from "../runtime/secret.ts";
import { SerialQueue } from "../runtime/serial-queue.ts";
import { type Authority, createAuthority } from "./authority.ts";
import {
  type Pins,
  requireContinuation,
  requirePinnedHistory,
  requireSeedshareOwner,
  requireSharesOf,
  requireWorkloadOwner,
} from "./authorize.ts";
import {
  advance,
  type Latest,
  type LatestInsecure,
  readLatestInsecure,
  readSeedShares,
  readSteps,
  readTransition,
  readTransitions,
  storeSeedShares,
  verifyLatest,
} from "./history.ts";
import { makeSeedShares, openSeed, requireShareOf, type SeedShares } from "./seed-shares.ts";
import { SALT_LENGTH, SeedEngine } from "./seed.ts";
import type { Store } from "./store.ts";
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

export interface Snapshot {
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's bytes, hex. */
  readonly manifestDigest: string;
  readonly latest: Latest;
  readonly seed: SeedEngine;
  readonly seedShares: SeedShares;
  readonly authority: Authority;
  /** How many manifests this history has. */
  readonly generation: number;
}

export interface SetRequest {
  readonly manifest: Uint8Array;
  readonly policies: readonly Uint8Array[];
  /** SHA-256 of the transition that must be the latest; all zero: none; undefined: any. */
  readonly latestTransition: Uint8Array | undefined;
  /** SHA-256 of the caller's SubjectPublicKeyInfo, hex. */
  readonly callerKey: string;
  /** Undefined: nobody's, which is enough for the first set. */
  readonly signature: ChangeSignature | undefined;
  /** The mesh CA key that the signature is said to be over; undefined: nobody says. */
  readonly signedMeshKey: Uint8Array | undefined;
}

export interface SetResult {
  readonly snapshot: Snapshot;
  /** The transition that was made, as it is stored. */
  readonly record: Buffer;
  /** SHA-256 of the key of the workload owner who allowed it, hex; undefined: the first set needs nobody's leave. */
  readonly owner: string | undefined;
}

export interface RecoverRequest {
  /** The seed, or the caller's share of it. */
  readonly share: Secret;
  readonly salt: Uint8Array;
  /** The caller's SubjectPublicKeyInfo, DER. */
  readonly callerSpki: Buffer;
  /** What the caller knows of the deployment. */
  readonly pins: Pins;
  /** Also where nothing needs to be recovered. */
  readonly force: boolean;
}

export interface RecoverResult {
  /** How many more owners it takes. Until it is 0 nothing has changed. */
  readonly missingShares: number;
  readonly recovered: { readonly snapshot: Snapshot; readonly manifest: Buffer } | undefined;
}

export interface History {
  /** Oldest first. */
  readonly steps: readonly Step[];
  readonly policies: readonly Buffer[];
  readonly seedShares: SeedShares;
  readonly authority: Authority;
}

export interface StateGuardOptions {
  readonly store: Store;
  /** Whether a manifest may trust a software TEE. */
  readonly allowInsecure: boolean;
  /** For whatever is issued by a manifest. @throws EvidenceError where the clock can't be right */
  readonly now: (manifest: Manifest) => Date;
  readonly random: (length: number) => Buffer;
}

/** The shares that were given so far to recover the history with this pointer. By owner: an owner counts once. */
interface Pending {
  readonly pointer: LatestInsecure;
  readonly shares: ReadonlyMap<string, Secret>;
  readonly missing: number;
}

export class StateGuard {
  readonly #options: StateGuardOptions;
  readonly #listeners = new Set<() => void>();
  #state: State;
  #owners: ReadonlySet<string>;
  #pending: Pending | undefined;
  readonly #queue = new SerialQueue();

  private constructor(options: StateGuardOptions, state: State, owners: ReadonlySet<string>) {
    this.#options = options;
    this.#state = state;
    this.#owners = owners;
  }

  static async load(options: StateGuardOptions): Promise<StateGuard> {
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
    const { store, now, random } = this.#options;
    const before = this.#state.phase === "empty" ? undefined : this.active();
    requireLatest(before?.latest, request.latestTransition);
    const owner = before === undefined ? undefined : requireLeave(before, request);
    const manifest = this.#parse(request.manifest);
    requireSamePolicies(manifest, request.policies);
    requireShortChains(manifest);
    if (before !== undefined) requireSameSeedshareOwners(before.manifest, manifest);
    const at = now(manifest);

    const { seed, seedShares } = before ?? (await createSeed(manifest, random));
    const meshKey = await generateEcKey("P-256");
    for (const policy of request.policies) await store.put("policies", policy);
    const manifestDigest = await store.put("manifests", request.manifest);
    const step = {
      manifest: manifestDigest,
      seedShares: await storeSeedShares(store, seedShares),
      rootKey: keyDigest(seed.rootKey),
      meshKey: before && keyDigest(before.authority.meshKey),
      // Nobody was asked for leave by the first set, so nobody's is stored.
      signatures: before === undefined || request.signature === undefined ? [] : [request.signature],
    };
    const { latest, record } = await advance(store, before?.latest, step, seed.historyKey.privateKey);

    const generation = (before?.generation ?? 0) + 1;
    // Not earlier, and nothing is waited for from here on: the generation before issues nothing after this one began.
    const began = unlessRefused(() => now(manifest), at);
    const authority = authorityOf({ manifest, manifestDigest, seed, generation }, meshKey, began);
    const snapshot = { manifest, manifestDigest, latest, seed, seedShares, authority, generation };
    this.#enter(snapshot);
    return { snapshot, record, owner };
  }

  async #recover({ share, salt, callerSpki, pins, force }: RecoverRequest): Promise<RecoverResult> {
    const { store, now } = this.#options;
    const active = this.#state.phase === "active" ? this.#state.snapshot : undefined;
    if (active !== undefined && !force) {
      throw new Refusal("not_in_recovery", "the Coordinator has its secrets: there is nothing to recover", {
        hint: "with --force it reads the stored state again",
      });
    }
    // Everything is read once: what decides who may recover is the very manifest that the signature covers, by the
    // digests from the pointer down.
    const pointer = await readLatestInsecure(store);
    if (pointer === undefined) {
      throw new Refusal("no_manifest", "the Coordinator has no manifest, so there is nothing to recover");
    }
    const history = await readTransitions(store, pointer.transition);
    const transition = history.at(-1);
    if (transition === undefined) throw new Error("a history has a transition");
    const manifestBytes = await store.get("manifests", transition.manifest);
    const manifest = this.#parse(manifestBytes);
    // Before the share is taken: with a wrong clock it would be lost.
    const at = now(manifest);
    requireSeedshareOwner(manifest, callerSpki);
    requirePinnedHistory(history, pins);
    if (active !== undefined) requireContinuation(history, active.latest.transition);
    await requireAllowed(store, history);
    const seedShares = await readSeedShares(store, transition.seedShares);
    requireSharesOf(manifest, seedShares);
    requireShareOf(seedShares, callerSpki, share, salt);

    const given = this.#pending?.pointer.raw.equals(pointer.raw) === true ? this.#pending.shares : [];
    const shares = new Map([...given, [callerSpki.toString("hex"), share]]);
    const missingShares = seedShares.threshold - shares.size;
    if (missingShares > 0) {
      this.#pending = { pointer, shares, missing: missingShares };
      return { missingShares, recovered: undefined };
    }
    // Each share is the one of its owner, by the records of this history. If they come to another seed than its own, then
    // the history is made up, and shares that were given to it are good for nothing.
    this.#pending = undefined;
    const seed = await openSeed(seedShares, [...shares.values()]);
    const latest = verifyLatest(pointer, seed.historyKey.publicKey);
    requireRootKey(seed, transition.rootKey);

    const meshKey = await generateEcKey("P-256");
    const generation = history.length;
    const manifestDigest = transition.manifest;
    const authority = authorityOf({ manifest, manifestDigest, seed, generation }, meshKey, at);
    const snapshot = { manifest, manifestDigest, latest, seed, seedShares, authority, generation };
    this.#enter(snapshot);
    return { missingShares, recovered: { snapshot, manifest: manifestBytes } };
  }

  #enter(snapshot: Snapshot): void {
    this.#state = { phase: "active", snapshot };
    this.#owners = ownersOf(snapshot.manifest);
    this.#pending = undefined;
    for (const listener of this.#listeners) listener();
  }

  #parse(bytes: Uint8Array): Manifest {
    let manifest: Manifest;
    try {
      manifest = parseManifest(bytes);
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      throw new Refusal("invalid_manifest", error.message, { where: error.where, got: error.got, want: error.want });
    }
    if (manifest.referenceValues.insecure.length > 0 && !this.#options.allowInsecure) {
      throw new Refusal("insecure_not_allowed", "the manifest trusts a software TEE, which proves nothing", {
        where: "$.ReferenceValues.insecure",
        want: "no such entry, or a Coordinator with CONTRAST_ALLOW_INSECURE=1",
      });
    }
    return manifest;
  }

  #inTurn<T>(change: () => Promise<T>, abandoned: AbortSignal | undefined): Promise<T> {
    return this.#queue.run(() => {
      abandoned?.throwIfAborted();
      return change();
    });
  }
}

/** The clock, or the time before, where the clock was set back in between: what is stored can't be refused any more. */
function unlessRefused(now: () => Date, before: Date): Date {
  try {
    return now();
  } catch {
    return before;
  }
}

function authorityOf(
  { manifest, manifestDigest, seed, generation }: Omit<Snapshot, "latest" | "seedShares" | "authority">,
  meshKey: KeyPair,
  now: Date,
): Authority {
  const { certificateLifetimeMs } = manifest;
  const mesh = { number: generation, manifest: manifestDigest };
  return createAuthority({ rootKey: seed.rootKey, meshKey, generation: mesh, certificateLifetimeMs }, now);
}

async function createSeed(
  { seedshareOwnerPubKeys, seedshareThreshold }: Manifest,
  random: StateGuardOptions["random"],
): Promise<Pick<Snapshot, "seed" | "seedShares">> {
  const [seed, salt] = [new Secret(random(SEED_LENGTH)), random(SALT_LENGTH)];
  const seedShares = await makeSeedShares(seed, salt, seedshareOwnerPubKeys, seedshareThreshold);
  return { seed: new SeedEngine(seed, salt), seedShares };
}

/**
 * Every owner who gave a share has pinned the root CA key that the history names, and so this seed is the one that all
 * of them mean.
 *
 * @throws Refusal `pin_mismatch`
 */
function requireRootKey(seed: SeedEngine, pinned: string): void {
  const rootKey = keyDigest(seed.rootKey);
  if (rootKey === pinned) return;
  throw new Refusal("pin_mismatch", "the seed gives another root CA key than the owners have pinned", {
    got: rootKey,
    want: pinned,
    hint: "the state was made up, or the seed share is another deployment's: do not recover it",
  });
}

/**
 * Workload owners signed every change of this history.
 *
 * @param history oldest first
 * @throws Refusal `unauthorized_history`, `damaged_state`
 */
async function requireAllowed(store: Store, history: readonly Transition[]): Promise<void> {
  const check = new HistoryCheck();
  try {
    for (const transition of history) {
      check.next({ transition, manifest: await store.get("manifests", transition.manifest) });
    }
  } catch (error) {
    if (!(error instanceof HistoryError)) throw error;
    const { message, where, got, want, hint } = error;
    const code = error.code === "unauthorized_history" ? error.code : "damaged_state";
    throw new Refusal(code, message, { where, got, want, hint, cause: error });
  }
}

/** @throws what `requireWorkloadOwner` throws */
function requireLeave(active: Snapshot, { manifest, callerKey, signature, signedMeshKey }: SetRequest): string {
  const previous = Buffer.from(active.latest.transition, "hex");
  const change = { manifest, previous, meshKey: spkiDigest(active.authority.meshKey.publicKey) };
  return requireWorkloadOwner(active.manifest, callerKey, { change, signature, signedMeshKey });
}

function keyDigest({ publicKey }: KeyPair): string {
  return spkiDigest(publicKey).toString("hex");
}

function requireLatest(latest: Latest | undefined, expected: Uint8Array | undefined): void {
  if (expected === undefined) return;
  const actual = Buffer.from(latest?.transition ?? "0".repeat(64), "hex");
  if (expected.length === actual.length && timingSafeEqual(expected, actual)) return;
  throw new Refusal("conflict", "the latest transition is another one", {
    got: actual.toString("hex"),
    want: Buffer.from(expected).toString("hex"),
    hint: "run `contrast verify`, look at what changed, then set again",
  });
}

function requireSamePolicies(manifest: Manifest, policies: readonly Uint8Array[]): void {
  const given = policies.map((policy) => policyHash(policy));
  const missing = [...manifest.policies.keys()].find((digest) => !given.includes(digest));
  const extra = given.find((digest) => !manifest.policies.has(digest));
  if (missing === undefined && extra === undefined) return;
  throw new Refusal("policy_mismatch", "the policies are not those that the manifest lists", {
    where: "$.Policies",
    got: extra ?? `no policy ${missing}`,
    want: "exactly the listed ones",
    hint: "run `contrast generate` again",
  });
}

/** Those of a stored manifest may be longer: an earlier version set it, and it has to be recovered all the same. */
function requireShortChains({ policies }: Manifest): void {
  const [fault] = longChains(policies);
  if (fault === undefined) return;
  throw new Refusal("certificate_too_long", "the names of a policy make its certificates longer than a peer accepts", {
    ...fault,
    hint: "give the policy fewer or shorter SANs",
  });
}

function requireSameSeedshareOwners(before: Manifest, after: Manifest): void {
  const keys = (manifest: Manifest): string =>
    manifest.seedshareOwnerPubKeys
      .map((key) => key.toString("hex"))
      .sort()
      .join();
  if (keys(before) !== keys(after)) {
    throw new Refusal("seedshare_owners_changed", "the seed share owners of a deployment can't change", {
      where: "$.SeedshareOwnerPubKeys",
      want: "those of the active manifest",
    });
  }
  if (before.seedshareThreshold === after.seedshareThreshold) return;
  throw new Refusal("seedshare_owners_changed", "the threshold of the seed share owners can't change", {
    where: "$.SeedshareThreshold",
    got: String(after.seedshareThreshold),
    want: String(before.seedshareThreshold),
  });
}
