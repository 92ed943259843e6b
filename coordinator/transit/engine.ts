import type { TransitVersions } from "../../manifest/transit.ts";
import { readableSeeds } from "../state/earlier-seeds.ts";
import type { Snapshot } from "../state/snapshot.ts";
import type { Input } from "./request-body.ts";
import { decrypt, encrypt, type KeySource } from "./transit-key.ts";
import { TransitError } from "./transit-error.ts";

/** `data` of Vault's answers. */
export type Output = { readonly ciphertext: string; readonly key_version: number } | { readonly plaintext: string };

export interface Around {
  readonly now: Date;
  readonly random: (length: number) => Buffer;
}

/**
 * @param id the caller's own
 * @throws TransitError `key_version_refused`, `ciphertext_not_authentic`
 */
export function perform(
  snapshot: Snapshot,
  id: string,
  versions: TransitVersions,
  input: Input,
  around: Around,
): Output {
  if ("plaintext" in input) {
    const version = input.keyVersion === 0 ? versions.latest : input.keyVersion;
    requireLatest(version, versions);
    const name = { id, version };
    return { ciphertext: encrypt(snapshot.seed, name, input.plaintext, around.random(12)), key_version: version };
  }
  const { version, sealed } = input.ciphertext;
  requireReadable(version, versions);
  const plaintext = decrypt(sources(snapshot, around.now), { id, version }, sealed);
  return { plaintext: plaintext.toString("base64") };
}

/** What is encrypted now is encrypted by the latest: an older one is on its way out. */
function requireLatest(version: number, { latest }: TransitVersions): void {
  if (version === latest) return;
  const [than, which] = version > latest ? ["higher", "latest"] : ["lower", "minimum encryption"];
  throw refused(`requested version for encryption is ${than} than the ${which} key version`);
}

function requireReadable(version: number, { latest, minimum }: TransitVersions): void {
  if (version > latest) throw refused("invalid ciphertext: version is too new");
  if (version < minimum) throw refused("ciphertext or signature version is disallowed by policy (too old)");
}

/** The seed in force, then, as long as their windows are open, those of before, the last one first. */
function* sources(snapshot: Snapshot, now: Date): Iterable<KeySource> {
  yield snapshot.seed;
  yield* readableSeeds(snapshot, snapshot.manifest.workloadSecretOverlapMs, now).reverse();
}

function refused(message: string): TransitError {
  return new TransitError("key_version_refused", message);
}
