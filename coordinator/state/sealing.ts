import { createCipheriv, createDecipheriv } from "node:crypto";
import { u16be, u32be } from "../../bytes/numbers.ts";
import { deriveBytes } from "../../pki/derive.ts";
import { Secret } from "../../runtime/secret.ts";
import type { SeedEngine } from "./seed.ts";

/**
 * A secret that owners gave, as it is stored: a record of kind `secrets`, which the annex names by its SHA-256.
 *
 * record: nonce (12) ‖ AES-256-GCM of the value ‖ tag (16)
 * key: HKDF-SHA256 of the seed, with its salt, info "contrast secret sealing key"
 * additional data: "contrast-secret-v1" ‖ 0x00 ‖ length u16be ‖ name ‖ version u32be ‖ number of readers u16be
 *   ‖ for each: length u16be ‖ reader
 *
 * The nonce is random, so the digest of a record tells nothing of the value: a digest of a weak password could be guessed.
 * With the additional data a host can't show the ciphertext of one name, version or set of readers as another's.
 */
export interface SecretLabel {
  readonly name: string;
  readonly version: number;
  /** In the order of the annex. */
  readonly readers: readonly string[];
}

type Opener = Pick<SeedEngine, "seed" | "salt">;

export const NONCE = 12;
const TAG = 16;
/** By so much a record is longer than the value in it, in bytes. */
export const SEALING = NONCE + TAG;

const CIPHER = "aes-256-gcm";
const DOMAIN = Buffer.from("contrast-secret-v1\0");

/** @param nonce 12 bytes, never the same again @throws RangeError where it is not that long */
export function sealSecret(seed: Opener, label: SecretLabel, value: Secret, nonce: Uint8Array): Uint8Array {
  if (nonce.length !== NONCE) throw new RangeError(`a nonce has ${NONCE} bytes`);
  const cipher = createCipheriv(CIPHER, sealingKey(seed), nonce, { authTagLength: TAG });
  cipher.setAAD(additionalData(label));
  return Buffer.concat([nonce, cipher.update(value.reveal()), cipher.final(), cipher.getAuthTag()]);
}

/** @returns undefined where it was not sealed under this seed with this label */
export function openSecret(seed: Opener, label: SecretLabel, record: Uint8Array): Secret | undefined {
  if (record.length <= SEALING) return undefined;
  const [nonce, text, tag] = [record.subarray(0, NONCE), record.subarray(NONCE, -TAG), record.subarray(-TAG)];
  const decipher = createDecipheriv(CIPHER, sealingKey(seed), nonce, { authTagLength: TAG });
  decipher.setAAD(additionalData(label)).setAuthTag(tag);
  const opened = decipher.update(text);
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return new Secret(opened);
}

function sealingKey({ seed, salt }: Opener): Uint8Array {
  return deriveBytes(seed, salt, "contrast secret sealing key", 32);
}

function additionalData({ name, version, readers }: SecretLabel): Uint8Array {
  return Buffer.concat([DOMAIN, ...sized(name), u32be(version), u16be(readers.length), ...readers.flatMap(sized)]);
}

function sized(text: string): Uint8Array[] {
  const bytes = Buffer.from(text);
  return [u16be(bytes.length), bytes];
}
