import { createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { toHex } from "../../bytes/encode.ts";
import { generateEcKey, isUsableRsa, privateKeyPem, spki, spkiDigest } from "../../pki/keys.ts";
import { ownerKeyOf } from "../../manifest/change-signature.ts";
import { GenerateError } from "./error.ts";
import { systemReason } from "../../kubernetes/error.ts";

/** The keys of the people who may change the manifest, and of those who may recover the Coordinator. */
export interface OwnerKeys {
  /** As the manifest names them: digests of the workload owners, whole keys of the seed share owners; hexadecimal. */
  readonly names: readonly string[];
  /** The private key that was made because there was none, PEM (PKCS#8). */
  readonly made: string | undefined;
}

const generateKeys = promisify(generateKeyPair);

/**
 * @param given PEM files with the owners' public or private keys
 * @param own the workspace's key, used and made if need be where none is given and the manifest names nobody
 * @param named whom the manifest names already
 * @throws GenerateError invalid_key, unreadable_file
 */
export async function workloadOwners(
  given: readonly string[],
  own: string,
  named: readonly string[] = [],
): Promise<OwnerKeys> {
  return owners(given, own, named, {
    want: "an EC key on P-256 or P-384, PEM",
    // As signatures are judged: another key would be an owner who can't change anything.
    fits: (key) => ["P-256", "P-384"].includes(ownerKeyOf(spki(key))?.curve ?? ""),
    generate: async () => (await generateEcKey("P-384")).privateKey,
    name: (key) => toHex(spkiDigest(key)),
  });
}

/** As `workloadOwners`. */
export async function seedshareOwners(
  given: readonly string[],
  own: string,
  named: readonly string[] = [],
): Promise<OwnerKeys> {
  return owners(given, own, named, {
    want: "an RSA key of 2048 to 8192 bits with an exponent of at most 32, PEM",
    fits: isUsableRsa,
    generate: async () => (await generateKeys("rsa", { modulusLength: 4096 })).privateKey,
    name: (key) => toHex(spki(key)),
  });
}

const THRESHOLDS = {
  workload: { who: "workload owners", where: "--workload-owner-threshold", more: "--workload-owner-key" },
  seedshare: { who: "seed share owners", where: "--seedshare-threshold", more: "--add-seedshare-owner-key" },
} as const;

/** @throws GenerateError threshold_too_high */
export function requireEnoughOwners(kind: keyof typeof THRESHOLDS, threshold: number, owners: number): void {
  if (threshold <= owners) return;
  const { who, where, more } = THRESHOLDS[kind];
  const got = `${threshold}, with ${owners} ${owners === 1 ? "key" : "keys"}`;
  const want = owners === 0 ? `none without owners, or no --disable-updates` : `at most ${owners}, or more of ${more}`;
  throw new GenerateError("threshold_too_high", `there are too few ${who}`, [{ where, got, want }]);
}

interface KeyKind {
  readonly want: string;
  readonly fits: (key: KeyObject) => boolean;
  readonly generate: () => Promise<KeyObject>;
  readonly name: (publicKey: KeyObject) => string;
}

async function owners(
  given: readonly string[],
  own: string,
  named: readonly string[],
  kind: KeyKind,
): Promise<OwnerKeys> {
  // Who has named owners and gives none now means those: the workspace's key would be one that nobody asked for.
  if (given.length === 0 && named.length > 0) return { names: named, made: undefined };
  const paths = given.length > 0 ? given : [own];
  const pems = await Promise.all(paths.map(readPem));
  const [first] = pems;
  if (given.length === 0 && first === undefined) {
    const key = await kind.generate();
    return { names: [kind.name(createPublicKey(key))], made: privateKeyPem(key) };
  }
  const names = pems.map((pem, index) => {
    const path = paths[index] ?? own;
    if (pem === undefined) throw unreadable(path, "ENOENT");
    return kind.name(parsePublicKey(pem, path, kind));
  });
  return { names: [...new Set([...named, ...names])], made: undefined };
}

/** @returns undefined where there is no such file */
async function readPem(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const reason = systemReason(error);
    if (reason === "ENOENT") return undefined;
    throw unreadable(path, reason);
  }
}

function parsePublicKey(pem: string, path: string, { want, fits }: KeyKind): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPublicKey(pem);
  } catch {
    // The parser's error may quote the file, and the file may be a private key.
  }
  if (key !== undefined && fits(key)) return key;
  const got =
    key === undefined ? "no key in PEM without a passphrase" : `a key of another kind (${key.asymmetricKeyType})`;
  throw new GenerateError("invalid_key", "the owner's key can't be used", [{ where: path, got, want }]);
}

function unreadable(path: string, got: string): GenerateError {
  return new GenerateError("unreadable_file", "the owner's key can't be read", [
    { where: path, got, want: "a PEM file" },
  ]);
}
