import type { KeyObject } from "node:crypto";
import { z } from "zod";
import type { SeedShares } from "../../api/userapi_pb.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { fromHex } from "../../bytes/hex.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { decryptShare } from "../../pki/seed-share.ts";
import type { Secret } from "../../runtime/secret.ts";
import { CliError } from "../context.ts";

/**
 * seed-shares.json: what lets the seed share owners recover. The shares are encrypted, so anybody may see them; but
 * without them nobody can recover.
 *
 * The file is only ever written with what an attested, active Coordinator says. One that needs recovery has nothing but
 * what the host gave it: it could show a seed of the host's own, encrypted to the owner's public key, and the owner
 * would make this seed the deployment's.
 */
export function encodeSeedSharesFile({ salt, shares, threshold }: SeedShares): string {
  const document = {
    ...(threshold > 1 ? { Threshold: threshold } : {}),
    Salt: hex(salt),
    SeedShares: shares.map(({ publicKey, encryptedSeed }) => ({
      PublicKey: hex(publicKey),
      EncryptedSeed: hex(encryptedSeed),
    })),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

export interface OwnShare {
  readonly share: Secret;
  readonly salt: Uint8Array;
}

/**
 * The share of this key's owner, decrypted.
 *
 * @throws CliError malformed_file, no_seed_share
 */
export function ownShare(path: string, bytes: Buffer, keys: KeyPair): OwnShare {
  const { Salt, SeedShares } = parseSeedSharesFile(path, bytes);
  const own = SeedShares.find(({ PublicKey }) => isEqual(PublicKey, spki(keys.publicKey)));
  if (own === undefined) {
    throw new CliError("no_seed_share", "no seed share belongs to this key", {
      where: path,
      got: `the key ${toHex(spkiDigest(keys.publicKey))}`,
      want: `one of ${SeedShares.map(({ PublicKey }) => sha256Hex(PublicKey)).join(", ")}`,
      hint: "name the private key of one of these with --seedshare-owner-key",
    });
  }
  return { share: decrypt(own.EncryptedSeed, keys.privateKey, path), salt: Salt };
}

const hexBytes = z.string().transform((text, context) => {
  const bytes = fromHex(text);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: "custom", message: "hexadecimal digits, two for each byte" });
  return z.NEVER;
});

const schema = z.strictObject({
  Threshold: z.int().min(2).optional(),
  Salt: hexBytes,
  SeedShares: z.array(z.strictObject({ PublicKey: hexBytes, EncryptedSeed: hexBytes })),
});

function parseSeedSharesFile(path: string, bytes: Buffer): z.infer<typeof schema> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch (cause) {
    throw new CliError("malformed_file", "the seed shares are no JSON", { where: path, cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new CliError("malformed_file", "the seed shares are malformed", {
    where: `${path}, $.${issue?.path.join(".") ?? ""}`,
    want: issue?.message,
  });
}

function decrypt(encrypted: Uint8Array, key: KeyObject, path: string): Secret {
  try {
    return decryptShare(encrypted, key);
  } catch (cause) {
    throw new CliError("no_seed_share", "the seed share can't be decrypted with this key", { where: path, cause });
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
