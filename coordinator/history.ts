import { type KeyObject, sign, verify } from "node:crypto";
import { Refusal } from "../api/refusal.ts";
import { MalformedBytes, Cursor } from "../bytes/cursor.ts";
import { encodeSeedShares, parseSeedShares, type SeedShares } from "./seed-shares.ts";
import type { Store } from "./store.ts";

/**
 * The history of manifests: a chain of transitions, each naming its manifest, the transition before it and the seed
 * shares, and a signed pointer to the latest one. The pointer's signature is by a key from the seed: who can check it
 * has the right seed, and who can't has not been shown a history that this Coordinator never made.
 *
 * transition: version u8 (1) ‖ SHA-256 of the manifest ‖ SHA-256 of the previous transition (zero: none)
 *             ‖ SHA-256 of the seed shares, the same in all transitions of a history
 * latest:     version u8 (1) ‖ SHA-256 of the transition ‖ ECDSA P-384 SHA-384 signature of what stands before it (r‖s)
 */
const VERSION = 1;
const DIGEST = 32;
const SIGNATURE = 96;
const NONE = "0".repeat(64);

export interface Transition {
  /** SHA-256 of the transition itself, hex. */
  readonly digest: string;
  /** SHA-256 of the manifest that it made the active one, hex. */
  readonly manifest: string;
  readonly previous: string | undefined;
  /** SHA-256 of the seed shares, hex. */
  readonly seedShares: string;
}

/** The pointer as it was read. Its signature has not been checked: nothing may be served by it. */
export interface LatestInsecure {
  readonly raw: Buffer;
  readonly transition: string;
  readonly signature: Buffer;
}

/** Reads the pointer without trusting it. @returns undefined where no manifest was ever set */
export async function readLatestInsecure(store: Store): Promise<LatestInsecure | undefined> {
  const raw = await store.latest();
  if (raw === undefined) return undefined;
  return parse("latest", () => {
    const cursor = new Cursor(raw);
    version(cursor);
    const transition = cursor.bytes(DIGEST, "transition").toString("hex");
    const signature = cursor.bytes(SIGNATURE, "signature");
    cursor.end("latest");
    return { raw, transition, signature };
  });
}

/** @throws Refusal `wrong_seed` where the pointer was not signed by the key of this seed */
export function verifyLatest(latest: LatestInsecure, historyKey: KeyObject): void {
  const signed = latest.raw.subarray(0, 1 + DIGEST);
  if (!verify("sha384", signed, { key: historyKey, dsaEncoding: "ieee-p1363" }, latest.signature)) {
    throw new Refusal("wrong_seed", "the history was not signed by a key of this seed", {
      where: "latest",
      hint: "use the seed share that was made when the first manifest of this deployment was set",
    });
  }
}

/**
 * Stores a transition and moves the pointer to it.
 *
 * @param expected the pointer as it is now
 * @param manifest SHA-256, hex; its record is there already, as is that of the seed shares
 */
export async function advance(
  store: Store,
  expected: LatestInsecure | undefined,
  { manifest, seedShares }: Pick<Transition, "manifest" | "seedShares">,
  historyKey: KeyObject,
): Promise<LatestInsecure> {
  const digests = [manifest, expected?.transition ?? NONE, seedShares].map((digest) => Buffer.from(digest, "hex"));
  const transition = await store.put("transitions", Buffer.concat([Buffer.of(VERSION), ...digests]));
  const signed = Buffer.concat([Buffer.of(VERSION), Buffer.from(transition, "hex")]);
  const signature = sign("sha384", signed, { key: historyKey, dsaEncoding: "ieee-p1363" });
  const raw = Buffer.concat([signed, signature]);
  await store.compareAndSwapLatest(expected?.raw, raw);
  return { raw, transition, signature };
}

/**
 * All transitions up to the given one, oldest first.
 *
 * @throws Refusal `damaged_state`
 */
export async function readTransitions(store: Store, latest: string): Promise<Transition[]> {
  const transitions: Transition[] = [];
  // Content addressing makes a loop impossible: a transition would have to contain its own digest.
  for (let digest: string | undefined = latest; digest !== undefined; digest = transitions.at(-1)?.previous) {
    const bytes = await store.get("transitions", digest);
    transitions.push(
      parse(`transitions/${digest}`, (at = digest ?? "") => {
        const cursor = new Cursor(bytes);
        version(cursor);
        const manifest = cursor.bytes(DIGEST, "manifest").toString("hex");
        const previous = cursor.bytes(DIGEST, "previous").toString("hex");
        const seedShares = cursor.bytes(DIGEST, "seed shares").toString("hex");
        cursor.end("transition");
        const expected = transitions.at(-1)?.seedShares ?? seedShares;
        if (seedShares !== expected) throw new MalformedBytes("seed shares", 1 + 2 * DIGEST, seedShares, expected);
        return { digest: at, manifest, previous: previous === NONE ? undefined : previous, seedShares };
      }),
    );
  }
  return transitions.reverse();
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

function version(cursor: Cursor): void {
  const found = cursor.u8("version");
  if (found !== VERSION) throw new MalformedBytes("version", 0, String(found), String(VERSION));
}

function parse<T>(record: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    throw new Refusal("damaged_state", "a record of the history is malformed", {
      where: `${record}, ${error.field}`,
      got: error.got,
      want: error.want,
    });
  }
}
