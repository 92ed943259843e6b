import { Cursor, MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { parseRecord } from "./parse-record.ts";

/**
 * The pointer to the latest transition. It is the one thing of a history that moves, so it decides what is in force: which
 * transition, and which mesh CA. Its signature is by a key from the seed: who can check it has the right seed, and who
 * can't has not been shown a history that a Coordinator of this deployment made.
 *
 * version u8 (2) ‖ sequence u64be ‖ SHA-256 of the transition ‖ SHA-256 of the mesh CA's SubjectPublicKeyInfo
 *   ‖ SHA-256 of the previous pointer's bytes (zero: none) ‖ ECDSA P-384 SHA-384 signature of what stands before it (r‖s)
 *
 * The sequence begins with 1 and every move adds 1, also one that changes the mesh CA alone. Each pointer names the one
 * before it, so of two pointers it can be told whether one continues the other.
 *
 * Version 1 is read, too: version u8 (1) ‖ SHA-256 of the transition ‖ signature. It has no mesh CA, and counts as sequence 0.
 */
export interface LatestInsecure {
  /** As it is stored. Its signature has not been checked: nothing may be served by it. */
  readonly raw: Buffer;
  /** SHA-256 of `raw`, hex, as all digests here. */
  readonly digest: string;
  readonly sequence: number;
  readonly transition: string;
  /** Undefined in version 1. */
  readonly meshKey: string | undefined;
  /** Digest of the pointer before; undefined: there is none, or it is of version 1. */
  readonly previous: string | undefined;
  readonly signature: Uint8Array;
}

const VERSION = 2;
const DIGEST = 32;
const SIGNATURE = 96;
const NONE = "0".repeat(2 * DIGEST);

/** @param where for people @throws Refusal `damaged_state`, `unknown_state_version` */
export function parseLatestInsecure(raw: Buffer, where: string): LatestInsecure {
  return parseRecord(where, () => {
    const cursor = new Cursor(raw);
    const digest = (field: string): string => toHex(cursor.bytes(DIGEST, field));
    const version = cursor.u8("version");
    if (version !== 1 && version !== VERSION) {
      throw new MalformedBytes("version", 0, String(version), `1 or ${VERSION}`);
    }
    const sequence = version === 1 ? 0 : parseSequence(cursor);
    const transition = digest("transition");
    const meshKey = version === 1 ? undefined : digest("mesh CA key");
    const previous = version === 1 ? NONE : digest("previous pointer");
    if (sequence > 1 && previous === NONE) {
      throw new MalformedBytes("previous pointer", 73, "none", `one, for the sequence number is ${sequence}`);
    }
    const signature = cursor.bytes(SIGNATURE, "signature");
    cursor.end("pointer");
    return {
      raw,
      digest: sha256Hex(raw),
      sequence,
      transition,
      meshKey,
      previous: previous === NONE ? undefined : previous,
      signature,
    };
  });
}

function parseSequence(cursor: Cursor): number {
  const sequence = cursor.u64be("sequence");
  if (sequence > 0n && sequence <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(sequence);
  throw new MalformedBytes("sequence", 1, String(sequence), "1 to 2^53 - 1");
}
