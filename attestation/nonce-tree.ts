import { digest } from "../crypto/node.ts";

/**
 * One report for many verifiers: a Merkle tree over their nonces, whose root the report is bound to. Each verifier gets the
 * path from its own nonce to the root, and so knows that the report was made after the nonce.
 *
 * leaf = SHA-256(0x00 ‖ nonce), node = SHA-256(0x01 ‖ left ‖ right), as in RFC 6962 §2.1: no node can be shown as a leaf. A
 * node that has no sibling moves up as it is.
 */

/** Of a nonce, in bytes: no more and no less, so that every leaf hashes 33 bytes and every node 65. */
export const NONCE_BYTES = 32;

/** Of a path: a tree has at most 2^20 leaves. */
export const MOST_STEPS = 20;

/** A sibling on the way from a leaf to the root, and on which side it stands. */
export interface PathStep {
  readonly side: "left" | "right";
  /** 32 bytes. */
  readonly digest: Uint8Array;
}

export interface NonceTree {
  /** 32 bytes. */
  readonly root: Uint8Array;
  /** Of each nonce, in their order, from the leaf up. */
  readonly paths: readonly (readonly PathStep[])[];
}

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/**
 * @param nonces each of 32 bytes
 * @throws RangeError where there is none, or are more than 2^20, or one has another length
 */
export function nonceTree(nonces: readonly Uint8Array[]): NonceTree {
  if (nonces.length === 0 || nonces.length > 2 ** MOST_STEPS) {
    throw new RangeError(`got ${nonces.length} nonces, want 1 to ${2 ** MOST_STEPS}`);
  }
  const paths = nonces.map((): PathStep[] => []);
  let level = nonces.map((nonce, index) => ({ digest: leafOf(nonce), leaves: [index] }));
  while (level.length > 1) {
    const above: typeof level = [];
    for (let at = 0; at < level.length; at += 2) {
      const [left, right] = [level[at], level[at + 1]];
      if (left === undefined) break;
      if (right === undefined) {
        above.push(left);
        break;
      }
      for (const leaf of left.leaves) paths[leaf]?.push({ side: "right", digest: right.digest });
      for (const leaf of right.leaves) paths[leaf]?.push({ side: "left", digest: left.digest });
      above.push({ digest: nodeOf(left.digest, right.digest), leaves: [...left.leaves, ...right.leaves] });
    }
    level = above;
  }
  return { root: level[0]?.digest ?? new Uint8Array(), paths };
}

/**
 * @param nonce 32 bytes
 * @param path from the leaf up, at most 20 steps
 * @returns the root that the path leads to, 32 bytes
 * @throws RangeError where a length is another
 */
export function rootOf(nonce: Uint8Array, path: readonly PathStep[]): Uint8Array {
  if (path.length > MOST_STEPS || path.some((step) => step.digest.length !== 32)) {
    throw new RangeError(`got a path of ${path.length} steps, want at most ${MOST_STEPS}, each of 32 bytes`);
  }
  return path.reduce(
    (below, { side, digest: sibling }) => (side === "left" ? nodeOf(sibling, below) : nodeOf(below, sibling)),
    leafOf(nonce),
  );
}

function leafOf(nonce: Uint8Array): Uint8Array {
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`got a nonce of ${nonce.length} bytes, want ${NONCE_BYTES}`);
  return digest("sha256", LEAF, nonce);
}

function nodeOf(left: Uint8Array, right: Uint8Array): Uint8Array {
  return digest("sha256", NODE, left, right);
}
