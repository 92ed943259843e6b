import { Refusal } from "../../api/refusal.ts";
import { parseAnnex } from "../../manifest/annex.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import type { Named, RecordKind, Store } from "../../store/store.ts";
import { secretsOf } from "./annex-in-force.ts";
import { parseConsent } from "./consent.ts";
import { readPointerInsecure, readTransition } from "./history.ts";
import { type LatestInsecure, parseLatestInsecure } from "./pointer.ts";

/**
 * Finds what a pointer leads to, and so what has to stay: its transitions with their manifests, policies, seed shares and
 * annexes; the secrets that the last of these names; every pointer before it; and what owners wait to be joined in, which
 * follows the latest transition. What was found once is not read again: the chains only grow.
 *
 * Nothing is verified. A store that lies can hide from a Coordinator what is there, and can remove it itself as well.
 */
export class Roots {
  readonly #store: Store;
  readonly #found: Record<RecordKind, Set<string>> = {
    manifests: new Set(),
    policies: new Set(),
    transitions: new Set(),
    seedshares: new Set(),
    pointers: new Set(),
    consents: new Set(),
    annexes: new Set(),
    secrets: new Set(),
  };

  /** By the transitions that name them. */
  readonly #annexOf = new Map<string, string>();
  /** What the annex that was looked at last names. */
  #secrets: { readonly annex: string; readonly sealed: readonly string[] } | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** @param latest the pointer @throws Refusal what the store throws: then nobody knows what may go */
  async namedBy(latest: Buffer): Promise<Named> {
    const pointer = parseLatestInsecure(latest, "latest");
    await this.#walkTransitions(pointer.transition);
    await this.#walkPointers(pointer);
    const annex = this.#annexOf.get(pointer.transition);
    return this.#withConsents(pointer.transition, annex === undefined ? [] : await this.#secretsOf(annex));
  }

  async #walkTransitions(latest: string): Promise<void> {
    const { manifests, policies, transitions, seedshares, annexes } = this.#found;
    const walked: string[] = [];
    for (let next: string | undefined = latest; next !== undefined && !transitions.has(next);) {
      const transition = await readTransition(this.#store, next);
      for (const policy of await this.#policiesOf(transition.manifest)) policies.add(policy);
      manifests.add(transition.manifest);
      seedshares.add(transition.seedShares);
      if (transition.annex !== undefined) {
        annexes.add(transition.annex);
        this.#annexOf.set(next, transition.annex);
      }
      walked.push(next);
      next = transition.previous;
    }
    // Not before the end: one that is known stands for all before it.
    for (const digest of walked) transitions.add(digest);
  }

  async #walkPointers(latest: LatestInsecure): Promise<void> {
    const { pointers } = this.#found;
    const walked: string[] = [];
    for (let next: LatestInsecure | undefined = latest; next !== undefined && !pointers.has(next.digest);) {
      walked.push(next.digest);
      next = next.previous === undefined ? undefined : await readPointerInsecure(this.#store, next.previous);
    }
    for (const digest of walked) pointers.add(digest);
  }

  /** @param inForce the secrets of the annex in force */
  async #withConsents(latest: string, inForce: Iterable<string>): Promise<Named> {
    const consents = new Set<string>();
    const annexes = new Set(this.#found.annexes);
    const secrets = new Set(inForce);
    const manifests = new Set(this.#found.manifests);
    const policies = new Set(this.#found.policies);
    for (const digest of await this.#store.list("consents")) {
      const named = await this.#namedByConsent(digest, latest);
      if (named === "outdated") continue;
      consents.add(digest);
      if (named === "unreadable") continue;
      manifests.add(named.manifest);
      for (const policy of named.policies) policies.add(policy);
      for (const annex of named.annexes) annexes.add(annex);
      for (const secret of named.secrets) secrets.add(secret);
    }
    return { ...this.#found, consents, manifests, policies, annexes, secrets };
  }

  /** @returns `unreadable`: it is damaged, or what it is for is, and helps nobody; that is no reason to keep all the rest */
  async #namedByConsent(digest: string, latest: string): Promise<"outdated" | "unreadable" | NamedByConsent> {
    try {
      const { manifest, previous, annex } = parseConsent(await this.#store.get("consents", digest));
      if (previous !== latest) return "outdated";
      const policies = await this.#policiesOf(manifest);
      if (annex === undefined) return { manifest, policies, annexes: [], secrets: [] };
      return { manifest, policies, annexes: [annex], secrets: await this.#secretsOf(annex) };
    } catch (error) {
      if (isPassing(error)) throw error;
      return "unreadable";
    }
  }

  async #secretsOf(annex: string): Promise<readonly string[]> {
    if (this.#secrets?.annex !== annex) {
      const named = secretsOf(parseAnnex(await this.#store.get("annexes", annex)));
      this.#secrets = { annex, sealed: named.map(({ sealed }) => sealed) };
    }
    return this.#secrets.sealed;
  }

  async #policiesOf(manifest: string): Promise<Iterable<string>> {
    return parseManifest(await this.#store.get("manifests", manifest)).policies.keys();
  }
}

interface NamedByConsent {
  readonly manifest: string;
  readonly policies: Iterable<string>;
  readonly annexes: readonly string[];
  readonly secrets: readonly string[];
}

/** The next time it may be there. */
function isPassing(error: unknown): boolean {
  return error instanceof Refusal && error.code !== "damaged_state" && error.code !== "unknown_state_version";
}
