import { timingSafeEqual } from "node:crypto";
import { Refusal } from "../api/refusal.ts";
import { policyHash } from "../manifest/initdata.ts";
import { ManifestError } from "../manifest/error.ts";
import { type Manifest, parseManifest } from "../manifest/manifest.ts";
import { Secret } from "../runtime/secret.ts";
import { type Authority, createAuthority } from "./authority.ts";
import { advance, type LatestInsecure, readLatestInsecure, readTransitions, verifyLatest } from "./history.ts";
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
}

export interface SetResult {
  readonly snapshot: Snapshot;
  /** Only of the first manifest: what lets its owners recover. */
  readonly seedShares?: SeedShares;
}

export interface SeedShares {
  readonly salt: Buffer;
  readonly shares: readonly { readonly publicKey: Buffer; readonly encryptedSeed: Buffer }[];
}

export interface History {
  readonly records: readonly { readonly manifest: Buffer; readonly transition: string }[];
  readonly policies: readonly Buffer[];
  readonly authority: Authority;
}

export interface StateGuardOptions {
  readonly store: Store;
  /** Whether a manifest may trust a software TEE. */
  readonly allowInsecure: boolean;
  readonly now: () => Date;
  readonly random: (length: number) => Buffer;
}

export class StateGuard {
  readonly #options: StateGuardOptions;
  #state: State;
  #last: Promise<unknown> = Promise.resolve();

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

  set(request: SetRequest): Promise<SetResult> {
    return this.#inTurn(() => this.#set(request));
  }

  /** @throws Refusal `wrong_seed` and others; the state is then as before */
  recover(seed: Uint8Array, salt: Uint8Array, force: boolean): Promise<Snapshot> {
    return this.#inTurn(() => this.#recover(seed, salt, force));
  }

  async history(): Promise<History> {
    const { store } = this.#options;
    const { latest, authority } = this.active();
    const transitions = await readTransitions(store, latest.transition);
    const records = await Promise.all(
      transitions.map(async ({ digest, manifest }) => ({
        manifest: await store.get("manifests", manifest),
        transition: digest,
      })),
    );
    const digests = new Set(records.flatMap(({ manifest }) => [...parseManifest(manifest).policies.keys()]));
    const policies = await Promise.all([...digests].map((digest) => store.get("policies", digest)));
    return { records, policies, authority };
  }

  async #set(request: SetRequest): Promise<SetResult> {
    const { store, now, random } = this.#options;
    const before = this.#state.phase === "empty" ? undefined : this.active();
    if (before !== undefined) requireOwner(before.manifest, request.callerKey);
    requireLatest(before?.latest, request.latestTransition);
    const manifest = this.#parse(request.manifest);
    requireSamePolicies(manifest, request.policies);
    if (before !== undefined) requireSameSeedshareOwners(before.manifest, manifest);

    const salt = random(SALT_LENGTH);
    const seed = before?.seed ?? new SeedEngine(new Secret(random(SEED_LENGTH)), salt);
    const authority = await createAuthority(seed.rootKey, now());
    for (const policy of request.policies) await store.put("policies", policy);
    const manifestDigest = await store.put("manifests", request.manifest);
    const latest = await advance(store, before?.latest, manifestDigest, seed.historyKey.privateKey);

    const generation = (before?.generation ?? 0) + 1;
    const snapshot = { manifest, manifestDigest, latest, seed, authority, generation };
    this.#state = { phase: "active", snapshot };
    if (before !== undefined) return { snapshot };
    const shares = manifest.seedshareOwnerPubKeys.map((publicKey) => ({
      publicKey,
      encryptedSeed: seed.encryptFor(publicKey),
    }));
    return { snapshot, seedShares: { salt, shares } };
  }

  async #recover(seedBytes: Uint8Array, salt: Uint8Array, force: boolean): Promise<Snapshot> {
    const { store, now } = this.#options;
    if (this.#state.phase === "active" && !force) {
      throw new Refusal("not_in_recovery", "the Coordinator has its secrets: there is nothing to recover");
    }
    const latest = await readLatestInsecure(store);
    if (latest === undefined) {
      throw new Refusal("no_manifest", "the Coordinator has no manifest, so there is nothing to recover");
    }
    if (seedBytes.length !== SEED_LENGTH || salt.length !== SALT_LENGTH) {
      throw new Refusal("wrong_seed", "the seed or its salt has the wrong length", {
        got: `${seedBytes.length} and ${salt.length} bytes`,
        want: `${SEED_LENGTH} and ${SALT_LENGTH}`,
      });
    }
    const seed = new SeedEngine(new Secret(seedBytes), salt);
    verifyLatest(latest, seed.historyKey.publicKey);
    const transitions = await readTransitions(store, latest.transition);
    const manifestDigest = transitions.at(-1)?.manifest ?? "";
    const manifest = this.#parse(await store.get("manifests", manifestDigest));
    const authority = await createAuthority(seed.rootKey, now());
    const snapshot = { manifest, manifestDigest, latest, seed, authority, generation: transitions.length };
    this.#state = { phase: "active", snapshot };
    return snapshot;
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

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(change, change);
    this.#last = turn;
    // The caller handles a failure; the next in turn only waits for it.
    turn.catch(() => undefined);
    return turn;
  }
}

function requireOwner(manifest: Manifest, callerKey: string): void {
  if (manifest.workloadOwnerKeyDigests.length === 0) {
    throw new Refusal("immutable", "the active manifest names no workload owner, so nobody may replace it", {
      where: "$.WorkloadOwnerKeyDigests",
    });
  }
  if (!manifest.workloadOwnerKeyDigests.includes(callerKey)) {
    throw new Refusal("not_owner", "the caller's key is not a workload owner's", {
      where: "$.WorkloadOwnerKeyDigests of the active manifest",
      got: callerKey,
      want: manifest.workloadOwnerKeyDigests.join(" or "),
      hint: "use --workload-owner-key with an owner's key",
    });
  }
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
  if (keys(before) === keys(after)) return;
  throw new Refusal("seedshare_owners_changed", "the seed share owners of a deployment can't change", {
    where: "$.SeedshareOwnerPubKeys",
    want: "those of the active manifest",
  });
}
