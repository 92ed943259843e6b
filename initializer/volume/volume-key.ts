import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromHex } from "../../bytes/hex.ts";
import { u16be } from "../../bytes/numbers.ts";
import { deriveBytes } from "../../pki/derive.ts";
import { Secret } from "../../runtime/secret.ts";
import { VolumeError } from "./error.ts";

/** The key of a volume, from the workload secret and the volume's name. */

export const CIPHER_KEY = 64;
export const MAC_KEY = 32;
const LABEL = "contrast volume";
const FILE = "workload-secret-seed";
const SECRET = 32;

export interface VolumeKey {
  /** Of the workload secret; undefined where the Coordinator knows no versions. */
  readonly version: number | undefined;
  /** 96 bytes: 64 for aes-xts-plain64, then 32 for hmac(sha256), as cryptsetup takes them. */
  readonly bytes: Secret;
}

/**
 * HKDF-SHA256 (RFC 5869) of the workload secret, without salt. info = u16 length of the label ‖ "contrast volume" ‖ u16
 * length of the name ‖ the name; both lengths big-endian, in bytes of UTF-8. 96 bytes.
 *
 * @param secret of the workload, 32 bytes
 * @param name of the volume
 */
export function deriveVolumeKey(secret: Secret, name: string, version?: number): VolumeKey {
  const info = Buffer.concat([prefixed(LABEL), prefixed(name)]);
  const bytes = deriveBytes(secret, Buffer.alloc(0), info, CIPHER_KEY + MAC_KEY);
  return { version, bytes: new Secret(bytes) };
}

function prefixed(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u16be(bytes.length), bytes]);
}

/**
 * The keys that the volume can have: of the secret in force first, then of those of before rekeys, the latest first.
 *
 * @param directory where the Initializer published the workload secret
 * @throws VolumeError volume_secret_missing
 */
export async function readVolumeKeys(directory: string, name: string): Promise<VolumeKey[]> {
  const names = await readdir(directory).catch(() => []);
  const versions = names
    .map((file) => /^workload-secret-seed\.([1-9]\d{0,9})$/.exec(file)?.[1])
    .filter((version) => version !== undefined)
    .map(Number)
    .toSorted((a, b) => b - a);
  if (versions.length === 0) return [deriveVolumeKey(await readSecret(join(directory, FILE)), name)];
  return Promise.all(
    versions.map(async (version) => {
      return deriveVolumeKey(await readSecret(join(directory, `${FILE}.${version}`)), name, version);
    }),
  );
}

async function readSecret(file: string): Promise<Secret> {
  const text = await readFile(file, "latin1").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  const bytes = text === undefined ? undefined : fromHex(text, SECRET);
  if (bytes !== undefined) return new Secret(bytes);
  throw new VolumeError("volume_secret_missing", "there is no workload secret to derive the volume's key from", {
    where: file,
    got: text === undefined ? "no such file" : `${text.length} characters`,
    want: `${2 * SECRET} hexadecimal digits`,
    hint: "give the workload a WorkloadSecretID, with `contrast generate`, and start the pod again",
  });
}
