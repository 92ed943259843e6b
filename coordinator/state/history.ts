import { type KeyObject, sign, verify } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { MalformedBytes, Cursor } from "../../bytes/cursor.ts";
import type { Step } from "../../manifest/history.ts";
import {
  encodeTransition,
  parseTransition,
  type Transition,
  type TransitionFields,
} from "../../manifest/transition.ts";
import { encodeSeedShares, parseSeedShares, type SeedShares } from "./seed-shares.ts";
import type { Store } from "../store/store.ts";

/**
 * The history of manifests on the disk: a chain of transitions (manifest/transition.ts), and a signed pointer to the
 * latest one. The pointer's signature is by a key from the seed: who can check it has the right seed, and who can't has
 * not been shown a history that this Coordinator never made. What the owners allowed is signed by them, in the
 * transitions: the seed alone makes no history that continues another.
 *
 * latest: version u8 (1) ‖ SHA-256 of the transition ‖ ECDSA P-384 SHA-384 signature of what stands before it (r‖s)
 */
const VERSION = 1;
const DIGEST = 32;
const SIGNATURE = 96;

/** The pointer as it was read. Its signature has not been checked: nothing may be served by it. */
export interface LatestInsecure {
  readonly raw: Buffer;
  readonly transition: string;
  readonly signature: Buffer;
}

/** A pointer that the key of the seed has signed. Only `verifyLatest` and `advance` make one. */
class VerifiedLatest implements LatestInsecure {
  readonly #pointer: LatestInsecure;

  constructor(pointer: LatestInsecure) {
    this.#pointer = pointer;
  }

  get raw(): Buffer {
    return this.#pointer.raw;
  }

  /** SHA-256 of the latest transition, hex. */
  get transition(): string {
    return this.#pointer.transition;
  }

  get signature(): Buffer {
    return this.#pointer.signature;
  }
}

export type Latest = VerifiedLatest;

/** Reads the pointer without trusting it. @returns undefined where no manifest was ever set */
export async function readLatestInsecure(store: Store): Promise<LatestInsecure | undefined> {
  const raw = await store.latest();
  if (raw === undefined) return undefined;
  return parse("latest", () => {
    const cursor = new Cursor(raw);
    const version = cursor.u8("version");
    if (version !== VERSION) throw new MalformedBytes("version", 0, String(version), String(VERSION));
    const transition = cursor.bytes(DIGEST, "transition").toString("hex");
    const signature = cursor.bytes(SIGNATURE, "signature");
    cursor.end("latest");
    return { raw, transition, signature };
  });
}

/** @throws Refusal `wrong_seed` where the pointer was not signed by the key of this seed */
export function verifyLatest(latest: LatestInsecure, historyKey: KeyObject): Latest {
  const signed = latest.raw.subarray(0, 1 + DIGEST);
  if (!verify("sha384", signed, { key: historyKey, dsaEncoding: "ieee-p1363" }, latest.signature)) {
    throw new Refusal("wrong_seed", "the history was not signed by a key of this seed", {
      where: "latest",
      hint: "use the seed share that was made when the first manifest of this deployment was set",
    });
  }
  return new VerifiedLatest(latest);
}

/**
 * Stores a transition and moves the pointer to it.
 *
 * @param expected the pointer as it is now
 * @param step its manifest and its seed shares are stored already
 */
export async function advance(
  store: Store,
  expected: Latest | undefined,
  step: Omit<TransitionFields, "previous">,
  historyKey: KeyObject,
): Promise<{ readonly latest: Latest; readonly record: Buffer }> {
  const record = encodeTransition({ ...step, previous: expected?.transition });
  // What can't be read must not be pointed to: no Coordinator would ever recover it.
  parseTransition(record);
  const transition = await store.put("transitions", record);
  const signed = Buffer.concat([Buffer.of(VERSION), Buffer.from(transition, "hex")]);
  const signature = sign("sha384", signed, { key: historyKey, dsaEncoding: "ieee-p1363" });
  const raw = Buffer.concat([signed, signature]);
  await store.compareAndSwapLatest(expected?.raw, raw);
  return { latest: new VerifiedLatest({ raw, transition, signature }), record };
}

/** @throws Refusal `damaged_state`, `unknown_state_version` */
export async function readTransition(store: Store, digest: string): Promise<Transition> {
  const record = await store.get("transitions", digest);
  return parse(`transitions/${digest}`, () => parseTransition(record));
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

/** With the manifests. @throws Refusal `damaged_state`, `unknown_state_version` */
export async function readSteps(store: Store, latest: string): Promise<Step[]> {
  const transitions = await readTransitions(store, latest);
  return Promise.all(
    transitions.map(async (transition) => ({
      transition,
      manifest: await store.get("manifests", transition.manifest),
    })),
  );
}

/** @returns SHA-256 of the record, hex */
export function storeSeedShares(store: Store, shares: SeedShares): Promise<string> {
  return store.put("seedshares", encodeSeedShares(shares));
}

/** @throws Refusal `damaged_state` */
export async function readSeedShares(store: Store, digest: string): Promise<SeedShares> {
  const bytes = await store.get("seedshares", digest);
  return parse(`seedshares/${digest}`, () => parseSeedShares(bytes));
}

function parse<T>(record: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    const { field, got, want } = error;
    if (field === "version") {
      throw new Refusal(
        "unknown_state_version",
        "a record of the history has a format that this version does not know",
        {
          where: record,
          got: `version ${got}`,
          want: `version ${want}`,
          hint: "run the version of the Coordinator that wrote it: what has no owners' signatures is not carried over",
        },
      );
    }
    throw new Refusal("damaged_state", "a record of the history is malformed", {
      where: `${record}, ${field}`,
      got,
      want,
    });
  }
}
