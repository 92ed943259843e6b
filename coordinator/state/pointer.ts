import { type KeyObject, sign, verify } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { u64be } from "../../bytes/numbers.ts";
import { type LatestInsecure, parseLatestInsecure } from "../../store/pointer.ts";

/** Pointers (store/pointer.ts), signed and verified. */
export { type LatestInsecure, parseLatestInsecure };

/** A pointer that the key of the seed has signed. Only `verifyLatest` and `signLatest` make one. */
class VerifiedLatest implements LatestInsecure {
  readonly #pointer: LatestInsecure;

  constructor(pointer: LatestInsecure) {
    this.#pointer = pointer;
  }

  get raw(): Buffer {
    return this.#pointer.raw;
  }

  get digest(): string {
    return this.#pointer.digest;
  }

  get sequence(): number {
    return this.#pointer.sequence;
  }

  /** SHA-256 of the latest transition, hex. */
  get transition(): string {
    return this.#pointer.transition;
  }

  get meshKey(): string | undefined {
    return this.#pointer.meshKey;
  }

  get previous(): string | undefined {
    return this.#pointer.previous;
  }

  get signature(): Uint8Array {
    return this.#pointer.signature;
  }
}

export type Latest = VerifiedLatest;

const VERSION = 2;
const DIGEST = 32;
const SIGNATURE = 96;
const NONE = "0".repeat(2 * DIGEST);

/** @throws Refusal `wrong_seed` where the pointer was not signed by the key of this seed */
export function verifyLatest(latest: LatestInsecure, historyKey: KeyObject): Latest {
  // Of the bytes alone: what was read from them is read from what is signed.
  const { raw } = latest;
  const signed = raw.subarray(0, raw.length - SIGNATURE);
  const signature = raw.subarray(raw.length - SIGNATURE);
  if (!verify("sha384", signed, { key: historyKey, dsaEncoding: "ieee-p1363" }, signature)) {
    throw new Refusal("wrong_seed", "the history was not signed by a key of this seed", {
      where: "latest",
      hint: "use the seed share that was made when the first manifest of this deployment was set",
    });
  }
  return new VerifiedLatest(parseLatestInsecure(raw, "latest"));
}

/** What a pointer leads to. Digests, hex. */
export interface Target {
  readonly transition: string;
  readonly meshKey: string;
}

/** The pointer that comes after another. @param before undefined: there is none */
export function signLatest(
  before: LatestInsecure | undefined,
  { transition, meshKey }: Target,
  historyKey: KeyObject,
): Latest {
  const sequence = u64be(BigInt((before?.sequence ?? 0) + 1));
  const digests = [transition, meshKey, before?.digest ?? NONE].map((digest) => Buffer.from(digest, "hex"));
  const signed = Buffer.concat([Buffer.of(VERSION), sequence, ...digests]);
  const signature = sign("sha384", signed, { key: historyKey, dsaEncoding: "ieee-p1363" });
  return new VerifiedLatest(parseLatestInsecure(Buffer.concat([signed, signature]), "latest"));
}
