import { timingSafeEqual } from "node:crypto";
import { Refusal } from "../api/refusal.ts";
import { policyHash } from "../manifest/initdata.ts";
import { ManifestError } from "../manifest/error.ts";
import { type Manifest, parseManifest } from "../manifest/manifest.ts";
import { combineShares } from "../pki/seed-share.ts";
import { Secret } from "../runtime/secret.ts";
import { Turns } from "../runtime/turns.ts";
import { type Authority, createAuthority } from "./authority.ts";
import { type ChangeSignature, requireSeedshareOwner, requireSharesOf, requireWorkloadOwner } from "./authorize.ts";
import {
  advance,
  type LatestInsecure,
  readLatestInsecure,
  readSeedShares,
  readTransitions,
  storeSeedShares,
  verifyLatest,
} from "./history.ts";
import { makeSeedShares, requireShareOf, type SeedShares } from "./seed-shares.ts";
import { SALT_LENGTH, SEED_LENGTH, SeedEngine } from "./seed.ts";
import type { Store } from "./store.ts";

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
  readonly latest: LatestInsecure;
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
  readonly signature?: ChangeSignature | undefined;
}

export interface SetResult {
  readonly snapshot: Snapshot;
  /** SHA-256 of the key of the workload owner who allowed it, hex; undefined: the first set needs nobody's leave. */
  readonly owner: string | undefined;
}

export interface RecoverRequest {
  /** The seed, or the caller's share of it. */
  readonly share: Secret;
  readonly salt: Uint8Array;
  /** The caller's SubjectPublicKeyInfo, DER. */
  readonly callerSpki: Buffer;
  /** Also where nothing needs to be recovered. */
  readonly force: boolean;
}

export interface RecoverResult {
  /** How many more owners it takes. Until it is 0 nothing has changed. */
  readonly missingShares: number;
  readonly recovered: { readonly snapshot: Snapshot; readonly manifest: Buffer } | undefined;
}

export interface History {
  readonly records: readonly { readonly manifest: Buffer; readonly transition: string }[];
  readonly policies: readonly Buffer[];
  readonly seedShares: SeedShares;
  readonly authority: Authority;
}

export interface StateGuardOptions {
  readonly store: Store;
  /** Whether a manifest may trust a software TEE. */
  readonly allowInsecure: boolean;
  readonly now: () => Date;
  readonly random: (length: number) => Buffer;
}

/** The shares that were given so far to recover the history with this pointer. By owner: an owner counts once. */
interface Pending {
  readonly latest: LatestInsecure;
  readonly shares: ReadonlyMap<string, Secret>;
  readonly missing: number;
}

export class StateGuard {
  readonly #options: StateGuardOptions;
  readonly #listeners = new Set<() => void>();
  #state: State;
  #pending: Pending | undefined;
  readonly #turns = new Turns();

  private constructor(options: StateGuardOptions, state: State) {
    this.#options = options;
    this.#state = state;
  }

  static async load(options: StateGuardOptions): Promise<StateGuard> {
    const latest = await readLatestInsecure(options.store);
    return new StateGuard(options, { phase: latest === undefined ? "empty" : "recovery" });
  }

  get phase(): State["phase"] {
    return this.#state.phase;
  }

  /** How many more shares it takes to recover; undefined until the first was given. */
  get missingShares(): number | undefined {
    return this.#pending?.missing;
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

  /** @throws Refusal `not_seedshare_owner`, `wrong_seed` and others; state and shares given are then as before */
  recover(request: RecoverRequest, abandoned?: AbortSignal): Promise<RecoverResult> {
    return this.#inTurn(() => this.#recover(request), abandoned);
  }

  async history(): Promise<History> {
    const { store } = this.#options;
    const { latest, seedShares, authority } = this.active();
    const transitions = await readTransitions(store, latest.transition);
    const records = await Promise.all(
      transitions.map(async ({ digest, manifest }) => ({
        manifest: await store.get("manifests", manifest),
        transition: digest,
      })),
    );
    const digests = new Set(records.flatMap(({ manifest }) => [...parseManifest(manifest).policies.keys()]));
    const policies = await Promise.all([...digests].map((digest) => store.get("policies", digest)));
    return { records, policies, seedShares, authority };
  }

  async #set(request: SetRequest): Promise<SetResult> {
    const { store, now, random } = this.#options;
    const before = this.#state.phase === "empty" ? undefined : this.active();
    const owner = before === undefined ? undefined : requireOwner(before, request);
    requireLatest(before?.latest, request.latestTransition);
    const manifest = this.#parse(request.manifest);
    requireSamePolicies(manifest, request.policies);
    if (before !== undefined) requireSameSeedshareOwners(before.manifest, manifest);

    const { seed, seedShares } = before ?? (await createSeed(manifest, random));
    const authority = await createAuthority(seed.rootKey, now());
    for (const policy of request.policies) await store.put("policies", policy);
    const manifestDigest = await store.put("manifests", request.manifest);
    const digests = { manifest: manifestDigest, seedShares: await storeSeedShares(store, seedShares) };
    const latest = await advance(store, before?.latest, digests, seed.historyKey.privateKey);

    const generation = (before?.generation ?? 0) + 1;
    const snapshot = { manifest, manifestDigest, latest, seed, seedShares, authority, generation };
    this.#enter({ phase: "active", snapshot });
    return { snapshot, owner };
  }

  async #recover({ share, salt, callerSpki, force }: RecoverRequest): Promise<RecoverResult> {
    const { store, now } = this.#options;
    if (this.#state.phase === "active" && !force) {
      throw new Refusal("not_in_recovery", "the Coordinator has its secrets: there is nothing to recover", {
        hint: "with --force it reads the stored state again",
      });
    }
    // Everything is read once: what decides who may recover is the very manifest that the signature covers, by the
    // digests from the pointer down.
    const latest = await readLatestInsecure(store);
    if (latest === undefined) {
      throw new Refusal("no_manifest", "the Coordinator has no manifest, so there is nothing to recover");
    }
    const transitions = await readTransitions(store, latest.transition);
    const { manifest: manifestDigest = "", seedShares: sharesDigest = "" } = transitions.at(-1) ?? {};
    const manifestBytes = await store.get("manifests", manifestDigest);
    const manifest = this.#parse(manifestBytes);
    requireSeedshareOwner(manifest, callerSpki);
    const seedShares = await readSeedShares(store, sharesDigest);
    requireSharesOf(manifest, seedShares);
    requireShareOf(seedShares, callerSpki, share, salt);

    const given = this.#pending?.latest.raw.equals(latest.raw) === true ? this.#pending.shares : [];
    const shares = new Map([...given, [callerSpki.toString("hex"), share]]);
    const missingShares = seedShares.threshold - shares.size;
    if (missingShares > 0) {
      this.#pending = { latest, shares, missing: missingShares };
      return { missingShares, recovered: undefined };
    }
    const seed = openSeed(await combineShares([...shares.values()]), salt);
    verifyLatest(latest, seed.historyKey.publicKey);

    const authority = await createAuthority(seed.rootKey, now());
    const generation = transitions.length;
    const snapshot = { manifest, manifestDigest, latest, seed, seedShares, authority, generation };
    this.#enter({ phase: "active", snapshot });
    return { missingShares, recovered: { snapshot, manifest: manifestBytes } };
  }

  #enter(state: State): void {
    this.#state = state;
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
    return this.#turns.take(() => {
      abandoned?.throwIfAborted();
      return change();
    });
  }
}

async function createSeed(
  { seedshareOwnerPubKeys, seedshareThreshold }: Manifest,
  random: StateGuardOptions["random"],
): Promise<Pick<Snapshot, "seed" | "seedShares">> {
  const [seed, salt] = [new Secret(random(SEED_LENGTH)), random(SALT_LENGTH)];
  const seedShares = await makeSeedShares(seed, salt, seedshareOwnerPubKeys, seedshareThreshold);
  return { seed: new SeedEngine(seed, salt), seedShares };
}

/** @throws Refusal `wrong_seed` */
function openSeed(seed: Secret, salt: Uint8Array): SeedEngine {
  const { length } = seed.reveal();
  if (length === SEED_LENGTH) return new SeedEngine(seed, salt);
  throw new Refusal("wrong_seed", "the seed has the wrong length", {
    got: `${length} bytes`,
    want: `${SEED_LENGTH} bytes`,
  });
}

function requireOwner(active: Snapshot, { manifest, callerKey, signature }: SetRequest): string {
  const change = { manifest, previous: Buffer.from(active.latest.transition, "hex") };
  return requireWorkloadOwner(active.manifest, callerKey, change, signature);
}

function requireLatest(latest: LatestInsecure | undefined, expected: Uint8Array | undefined): void {
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
