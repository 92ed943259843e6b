import { Refusal } from "../../api/refusal.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import type { Named, RecordKind, Store } from "../../store/store.ts";
import { parseConsent } from "./consent.ts";
import { readPointerInsecure, readTransition } from "./history.ts";
import { type LatestInsecure, parseLatestInsecure } from "./pointer.ts";

/**
 * Finds what a pointer leads to, and so what has to stay: its transitions with their manifests, policies and seed shares;
 * every pointer before it; and what owners wait to be joined in, which follows the latest transition. What was found once
 * is not read again: the chains only grow.
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
  };

  constructor(store: Store) {
    this.#store = store;
  }

  /** @param latest the pointer @throws Refusal what the store throws: then nobody knows what may go */
  async namedBy(latest: Buffer): Promise<Named> {
    const pointer = parseLatestInsecure(latest, "latest");
    await this.#walkTransitions(pointer.transition);
    await this.#walkPointers(pointer);
    return this.#withConsents(pointer.transition);
  }

  async #walkTransitions(latest: string): Promise<void> {
    const { manifests, policies, transitions, seedshares } = this.#found;
    const walked: string[] = [];
    for (let next: string | undefined = latest; next !== undefined && !transitions.has(next);) {
      const transition = await readTransition(this.#store, next);
      for (const policy of await this.#policiesOf(transition.manifest)) policies.add(policy);
      manifests.add(transition.manifest);
      seedshares.add(transition.seedShares);
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

  async #withConsents(latest: string): Promise<Named> {
    const consents = new Set<string>();
    const manifests = new Set(this.#found.manifests);
    const policies = new Set(this.#found.policies);
    for (const digest of await this.#store.list("consents")) {
      const named = await this.#namedByConsent(digest, latest);
      if (named === "outdated") continue;
      consents.add(digest);
      if (named === "unreadable") continue;
      manifests.add(named.manifest);
      for (const policy of named.policies) policies.add(policy);
    }
    return { ...this.#found, consents, manifests, policies };
  }

  /** @returns `unreadable`: it is damaged, or what it is for is, and helps nobody; that is no reason to keep all the rest */
  async #namedByConsent(
    digest: string,
    latest: string,
  ): Promise<"outdated" | "unreadable" | { readonly manifest: string; readonly policies: Iterable<string> }> {
    try {
      const { manifest, previous } = parseConsent(await this.#store.get("consents", digest));
      return previous === latest ? { manifest, policies: await this.#policiesOf(manifest) } : "outdated";
    } catch (error) {
      if (isPassing(error)) throw error;
      return "unreadable";
    }
  }

  async #policiesOf(manifest: string): Promise<Iterable<string>> {
    return parseManifest(await this.#store.get("manifests", manifest)).policies.keys();
  }
}

/** The next time it may be there. */
function isPassing(error: unknown): boolean {
  return error instanceof Refusal && error.code !== "damaged_state" && error.code !== "unknown_state_version";
}
