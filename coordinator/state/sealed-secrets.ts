import { Refusal } from "../../api/refusal.ts";
import { encodeAnnex, LARGEST_SECRET } from "../../manifest/annex.ts";
import type { Secret } from "../../runtime/secret.ts";
import { damaged } from "../../store/record.ts";
import type { Store } from "../../store/store.ts";
import { type AnnexInForce, annexInForce, type NamedSecret, secretsOf } from "./annex-in-force.ts";
import { NONCE, openSecret, type SecretLabel, sealSecret, SEALING } from "./sealing.ts";
import type { SeedEngine } from "./seed.ts";

/** Stores a value for an annex that is to name it. @returns SHA-256 of the record, hex @throws Refusal `state_not_written` */
export async function storeSealed(
  seed: SeedEngine,
  label: SecretLabel,
  value: Secret,
  { store, random }: { readonly store: Pick<Store, "put">; readonly random: (length: number) => Buffer },
): Promise<string> {
  return store.put("secrets", sealSecret(seed, label, value, random(NONCE)));
}

/** @returns the record, and the value in it; undefined: it is not there, or not of this label */
export async function readSealed(
  seed: SeedEngine,
  secret: NamedSecret,
  store: Pick<Store, "get">,
): Promise<{ readonly record: Buffer; readonly value: Secret } | undefined> {
  const record = await readRecord(store, secret.sealed);
  const value = record && openSecret(seed, secret, record);
  return record === undefined || value === undefined ? undefined : { record, value };
}

/**
 * The size of the value in a record, as far as the record tells; 0 where it is not there: it takes no room then.
 *
 * @returns bytes
 */
export async function sizeOfSealed(sealed: string, store: Pick<Store, "get">): Promise<number> {
  const record = await readRecord(store, sealed);
  return Math.max(0, (record?.length ?? 0) - SEALING);
}

/** Values of the annex in force, opened once for as long as it is in force. */
const opened = new WeakMap<AnnexInForce, Map<string, Promise<Secret>>>();

/**
 * The value of a secret of the annex in force.
 *
 * @throws Refusal `damaged_state` where its record is missing, or is not what was sealed
 */
export function openInForce(
  { seed, annex }: { readonly seed: SeedEngine; readonly annex: AnnexInForce },
  secret: NamedSecret,
  store: Pick<Store, "get">,
): Promise<Secret> {
  const known = opened.get(annex) ?? new Map<string, Promise<Secret>>();
  opened.set(annex, known);
  const before = known.get(secret.sealed);
  if (before !== undefined) return before;
  const value = readSealed(seed, secret, store).then((found) => {
    if (found !== undefined) return found.value;
    throw unreadable(secret);
  });
  known.set(secret.sealed, value);
  // The store may be whole the next time.
  value.catch(() => known.delete(secret.sealed));
  return value;
}

/**
 * Every secret sealed under the seed of a rekey, for that opens nothing of before. All else of the annex stays.
 *
 * @throws Refusal `damaged_state` where one can't be opened: an owner removes it, or sets it again, before the rekey
 */
export async function resealed(
  { seed, annex }: { readonly seed: SeedEngine; readonly annex: AnnexInForce },
  next: SeedEngine,
  { store, random }: { readonly store: Pick<Store, "get" | "put">; readonly random: (length: number) => Buffer },
): Promise<AnnexInForce> {
  const digests = new Map<string, string>();
  for (const secret of secretsOf(annex.annex)) {
    const found = await readSealed(seed, secret, store);
    if (found === undefined) throw unreadable(secret);
    digests.set(secret.sealed, await store.put("secrets", sealSecret(next, secret, found.value, random(NONCE))));
  }
  const secrets = [...annex.annex.secrets].map(([name, { latestVersion, versions }]) => {
    const anew = versions.map((version) => ({ ...version, sealed: digests.get(version.sealed) ?? "" }));
    return [name, { latestVersion, versions: anew }] as const;
  });
  const after = { secrets: new Map(secrets), volumes: annex.annex.volumes };
  return annexInForce(encodeAnnex(after), after);
}

/** @returns undefined: it is missing or damaged, or larger than any */
async function readRecord(store: Pick<Store, "get">, sealed: string): Promise<Buffer | undefined> {
  try {
    const record = await store.get("secrets", sealed);
    return record.length <= LARGEST_SECRET + SEALING ? record : undefined;
  } catch (error) {
    const isOfTheRecord =
      error instanceof Refusal && (error.code === "damaged_state" || error.code === "unknown_state_version");
    if (isOfTheRecord) return undefined;
    throw error;
  }
}

function unreadable({ name, version, sealed }: NamedSecret): Refusal {
  return damaged("a sealed secret is missing, or is not what was sealed", {
    where: `secrets/${sealed}, version ${version} of the secret ${name}`,
    hint: "restore the record from a backup of the state, or set the secret again by `contrast secret set`",
  });
}
