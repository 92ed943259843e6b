import { Cursor, MalformedBytes } from "../bytes/cursor.ts";
import { compare, concat, toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { u32be } from "../bytes/numbers.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { type ChangeSignature, MOST_SIGNATURES } from "./change-signature.ts";
import { readSigned } from "./read-signed.ts";

/**
 * One step of a deployment's history, and the owners' leave for it. It names everything that later steps must not
 * change, so that whoever knows the SHA-256 of one transition knows all that was before it, and whose seed it is.
 *
 * version u8 (2 to 4) ‖ SHA-256 of the manifest ‖ SHA-256 of the previous transition ‖ SHA-256 of the seed shares
 *   ‖ SHA-256 of the root CA's SubjectPublicKeyInfo ‖ the same of the mesh CA that the owners saw
 *   ‖ SHA-256 of the annex (version 4 only) ‖ number of signatures u8 ‖ for each, by ascending key:
 *     length u32be ‖ SubjectPublicKeyInfo of the owner ‖ length u32be ‖ signature (change.ts)
 *
 * The first one follows nothing and needs nobody's leave: previous transition and mesh CA are zero, and nothing is
 * signed. Every other one has a signature, but for those by which the Coordinator counts a leave to format a volume as
 * used (transition-kind.ts). One transition has one encoding.
 *
 * Version 3 is a step that has other seed shares than the one before: for other seed share owners, or of another seed,
 * and then the root CA key is another as well. All others have version 2, so that the release before reads them.
 *
 * Version 4 has an annex (annex.ts). The first amendment has it, and every step from then on.
 */
export interface Transition {
  readonly version: TransitionVersion;
  /** As they are hashed and stored. */
  readonly record: Uint8Array;
  /** SHA-256 of the record, hex, as all digests here. */
  readonly digest: string;
  readonly manifest: string;
  /** Undefined: it is the first. */
  readonly previous: string | undefined;
  readonly seedShares: string;
  readonly rootKey: string;
  /** Of the generation that it ended; undefined: it is the first. */
  readonly meshKey: string | undefined;
  /** SHA-256 of the annex that is in force from then on; undefined: nothing was ever amended. */
  readonly annex: string | undefined;
  readonly signatures: readonly ChangeSignature[];
}

/** 3: the seed shares are others than those of the transition before. 4: there is an annex. */
export type TransitionVersion = 2 | 3 | 4;

const DIGEST = 32;
const NONE = "0".repeat(2 * DIGEST);

export type TransitionFields = Omit<Transition, "record" | "digest" | "version" | "annex"> &
  Partial<Pick<Transition, "version" | "annex">>;

/** @param fields those that are missing in a first transition together; with an annex the version is 4 */
export function encodeTransition(fields: TransitionFields): Uint8Array {
  const { manifest, previous = NONE, seedShares, rootKey, meshKey = NONE, annex, signatures } = fields;
  const version = annex === undefined ? (fields.version ?? 2) : 4;
  const digests = [manifest, previous, seedShares, rootKey, meshKey, ...(annex === undefined ? [] : [annex])].map(
    bytesOf,
  );
  const signed = signatures
    .toSorted((one, other) => compare(one.publicKey, other.publicKey))
    .flatMap(({ publicKey, signature }) => [u32be(publicKey.length), publicKey, u32be(signature.length), signature]);
  return concat(Uint8Array.of(version), ...digests, Uint8Array.of(signatures.length), ...signed);
}

/** @param digest hex */
function bytesOf(digest: string): Uint8Array {
  const bytes = fromHex(digest, DIGEST);
  if (bytes === undefined) throw new RangeError("a transition names all by 32 bytes");
  return bytes;
}

/** @throws MalformedBytes; its field is `version` where another version wrote it */
export function parseTransition(record: Uint8Array): Transition {
  const cursor = new Cursor(record);
  const version = parseVersion(cursor);
  const digest = (field: string): string => toHex(cursor.bytes(DIGEST, field));
  const manifest = digest("manifest");
  const previous = digest("previous");
  const seedShares = digest("seed shares");
  const rootKey = digest("root CA key");
  const meshKey = digest("mesh CA key");
  const annex = version === 4 ? digest("annex") : undefined;
  const signatures = parseSignatures(cursor);
  cursor.end("transition");
  const isFirst = previous === NONE;
  if (isFirst && version !== 2)
    throw new MalformedBytes("previous transition", 0, `version ${version} of a first one`, "version 2");
  // With an annex, the kind of the step says whether owners have to have signed it (history.ts).
  const hasLeave = signatures.length > 0 || version === 4;
  if (isFirst ? meshKey !== NONE || signatures.length > 0 : meshKey === NONE || !hasLeave) {
    const want = isFirst ? "no mesh CA key and no signature in the first" : "both, for it follows another";
    throw new MalformedBytes("signatures", 1 + 4 * DIGEST, `${signatures.length}, mesh CA key ${meshKey}`, want);
  }
  return {
    version,
    record: cursor.since(0),
    digest: sha256Hex(record),
    manifest,
    previous: isFirst ? undefined : previous,
    seedShares,
    rootKey,
    meshKey: isFirst ? undefined : meshKey,
    annex,
    signatures,
  };
}

function parseVersion(cursor: Cursor): TransitionVersion {
  const version = cursor.u8("version");
  if (version === 2 || version === 3 || version === 4) return version;
  throw new MalformedBytes("version", 0, String(version), "2 to 4");
}

function parseSignatures(cursor: Cursor): ChangeSignature[] {
  const start = cursor.offset;
  const count = cursor.u8("number of signatures");
  if (count > MOST_SIGNATURES) {
    throw new MalformedBytes("number of signatures", start, String(count), `at most ${MOST_SIGNATURES}`);
  }
  const signatures: ChangeSignature[] = [];
  for (let index = 0; index < count; index++) {
    const at = cursor.offset;
    const publicKey = readSigned(cursor, `signature ${index}, key`);
    const before = signatures.at(-1)?.publicKey;
    if (before !== undefined && compare(before, publicKey) >= 0) {
      throw new MalformedBytes(`signature ${index}, key`, at, "a key out of order", "each key once, by their bytes");
    }
    signatures.push({ publicKey, signature: readSigned(cursor, `signature ${index}`) });
  }
  return signatures;
}
