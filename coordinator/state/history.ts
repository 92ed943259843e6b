import type { KeyObject } from "node:crypto";
import type { Step } from "../../manifest/history.ts";
import {
  encodeTransition,
  parseTransition,
  type Transition,
  type TransitionFields,
} from "../../manifest/transition.ts";
import { parseRecord } from "../../store/parse-record.ts";
import { type Latest, type LatestInsecure, parseLatestInsecure, signLatest, type Target } from "./pointer.ts";
import { encodeSeedShares, parseSeedShares, type SeedShares } from "./seed-shares.ts";
import { damaged } from "../../store/record.ts";
import type { Store } from "../../store/store.ts";

/**
 * The history of manifests and annexes in the store: a chain of transitions (manifest/transition.ts), and a signed pointer to the
 * latest one (pointer.ts). What the owners allowed is signed by them, in the transitions: the seed alone makes no history
 * that continues another. Every pointer that there was is kept, too, as a record that the next one names.
 */

/** Reads the pointer without trusting it. @returns undefined where no manifest was ever set */
export async function readLatestInsecure(store: Store): Promise<LatestInsecure | undefined> {
  const raw = await store.latest();
  return raw === undefined ? undefined : parseLatestInsecure(raw, "latest");
}

/**
 * Stores a transition and moves the pointer to it.
 *
 * @param expected the pointer as it is now
 * @param step its manifest, its seed shares and its annex are stored already
 * @param meshKey SHA-256 of the SubjectPublicKeyInfo of the mesh CA that is in force from then on, hex
 */
export async function advance(
  store: Store,
  expected: Latest | undefined,
  step: Omit<TransitionFields, "previous">,
  { meshKey, historyKey }: { readonly meshKey: string; readonly historyKey: KeyObject },
): Promise<{ readonly latest: Latest; readonly record: Uint8Array }> {
  const record = encodeTransition({ ...step, previous: expected?.transition });
  // What can't be read must not be pointed to: no Coordinator would ever recover it.
  parseTransition(record);
  const transition = await store.put("transitions", record);
  return { latest: await movePointer(store, expected, { transition, meshKey }, historyKey), record };
}

/**
 * Moves the pointer: by one compare-and-swap it is decided what is in force, and who else tried gets a `conflict`.
 *
 * @param expected the pointer as it is now, signed by the key of the seed
 */
export async function movePointer(
  store: Store,
  expected: LatestInsecure | undefined,
  target: Target,
  historyKey: KeyObject,
): Promise<Latest> {
  const latest = signLatest(expected, target, historyKey);
  // Those of version 1 were not kept when they were made.
  if (expected?.sequence === 0) await store.put("pointers", expected.raw);
  await store.put("pointers", latest.raw);
  await store.compareAndSwapLatest(expected?.raw, latest.raw);
  return latest;
}

/** A pointer that once was, by its digest. @throws Refusal `damaged_state`, `unknown_state_version` */
export async function readPointerInsecure(store: Store, digest: string): Promise<LatestInsecure> {
  return parseLatestInsecure(await store.get("pointers", digest), `pointers/${digest}`);
}

/**
 * The pointer with a number, in the chain that ends with a later one. What is reached from a pointer whose signature was
 * checked is as good as that: each names the bytes of the one before it.
 *
 * @param sequence at most that of `from`
 * @returns undefined where the chain begins with a higher number
 * @throws Refusal `damaged_state`, `unknown_state_version`
 */
export async function readPointerAt(store: Store, from: Latest, sequence: number): Promise<LatestInsecure | undefined> {
  let pointer: LatestInsecure = from;
  while (pointer.sequence > sequence) {
    if (pointer.previous === undefined) return undefined;
    const { sequence: next, digest } = pointer;
    pointer = await readPointerInsecure(store, pointer.previous);
    if (pointer.sequence !== next - 1) throw damaged("the pointers are not numbered one by one", { where: digest });
  }
  return pointer;
}

/** @throws Refusal `damaged_state`, `unknown_state_version` */
export async function readTransition(store: Store, digest: string): Promise<Transition> {
  const record = await store.get("transitions", digest);
  return parseRecord(`transitions/${digest}`, () => parseTransition(record));
}

/**
 * All transitions up to the given one, oldest first. Each is what its digest says; whether they are one history that its
 * owners allowed is to be checked (manifest/history.ts).
 *
 * @throws Refusal `damaged_state`, `unknown_state_version`
 */
export async function readTransitions(store: Store, latest: string): Promise<Transition[]> {
  const transitions: Transition[] = [];
  // Content addressing makes a loop impossible: a transition would have to contain its own digest.
  for (let digest: string | undefined = latest; digest !== undefined; digest = transitions.at(-1)?.previous) {
    transitions.push(await readTransition(store, digest));
  }
  return transitions.reverse();
}

/** With the manifests and annexes, each read once. @throws Refusal `damaged_state`, `unknown_state_version` */
export async function readSteps(store: Store, latest: string): Promise<Step[]> {
  const transitions = await readTransitions(store, latest);
  const read = new Map<string, Promise<Buffer>>();
  const once = (kind: "manifests" | "annexes", digest: string): Promise<Buffer> => {
    const bytes = read.get(digest) ?? store.get(kind, digest);
    read.set(digest, bytes);
    return bytes;
  };
  return Promise.all(
    transitions.map(async (transition) => {
      const { manifest, annex } = transition;
      const [bytes, amended] = await Promise.all([
        once("manifests", manifest),
        annex === undefined ? undefined : once("annexes", annex),
      ]);
      return { transition, manifest: bytes, annex: amended };
    }),
  );
}

/** @returns SHA-256 of the record, hex */
export function storeSeedShares(store: Store, shares: SeedShares): Promise<string> {
  return store.put("seedshares", encodeSeedShares(shares));
}

/** @throws Refusal `damaged_state` */
export async function readSeedShares(store: Store, digest: string): Promise<SeedShares> {
  const bytes = await store.get("seedshares", digest);
  return parseRecord(`seedshares/${digest}`, () => parseSeedShares(bytes));
}
