import { fromUtf8, isEqual } from "../bytes/encode.ts";
import { quote } from "../runtime/fault.ts";
import {
  isReader,
  isSecretName,
  isVolumeName,
  isWorkloadId,
  WANT_ID,
  WANT_READER,
  WANT_SECRET_NAME,
  WANT_VOLUME_NAME,
} from "./annex-names.ts";
import { ManifestError } from "./error.ts";
import { type JsonPath, parseJson, pathText } from "./json.ts";

/**
 * What owners change without a new manifest: which secrets there are, who may read them, and how often a workload may
 * format a volume. A transition of version 4 names it by its SHA-256 (transition.ts), so it has one encoding: JSON in the
 * canonical form of RFC 8785. No value of a secret is in it, nor a digest of one, but the digest of a ciphertext.
 *
 *     {"Secrets":{"<name>":{"LatestVersion":3,"Versions":[
 *        {"Readers":["policy:<64 hex>","workload:<WorkloadSecretID>"],"Sealed":"<SHA-256, hex>","Version":3},
 *        {"Readers":[…],"Sealed":"…","Version":2}]}},
 *      "Volumes":{"<WorkloadSecretID>":{"<volume>":{"FormatsAllowed":1,"FormatsUsed":0}}}}
 */
export interface Annex {
  /** By name. A secret that was removed stays, without versions. */
  readonly secrets: ReadonlyMap<string, AnnexSecret>;
  /** By WorkloadSecretID, and then by the name of the volume. */
  readonly volumes: ReadonlyMap<string, ReadonlyMap<string, FormatGrants>>;
}

export interface AnnexSecret {
  /** Of all that there ever were: no number comes again. From 1. */
  readonly latestVersion: number;
  /** The latest first. None: it was removed. At most two: the one before stays readable during a rollout. */
  readonly versions: readonly SecretVersion[];
}

export interface SecretVersion {
  readonly version: number;
  /** `policy:<hash>` and `workload:<WorkloadSecretID>`, sorted. */
  readonly readers: readonly string[];
  /** SHA-256 of the ciphertext, hex: a record of kind `secrets`. */
  readonly sealed: string;
}

/** How often owners allowed to format a volume, and how often that was used. */
export interface FormatGrants {
  readonly allowed: number;
  readonly used: number;
}

/** In bytes. */
export const LARGEST_ANNEX = 64 * 1024;
/** Removed ones count, too. */
export const MOST_SECRETS = 256;
export const MOST_VERSIONS = 2;
export const MOST_READERS = 64;
/** Of one version of a secret, in bytes. The least is 1. */
export const LARGEST_SECRET = 64 * 1024;
/** Of all versions of all secrets together, in bytes: what a workload can be sent at most. */
export const LARGEST_SECRETS = 1024 * 1024;
/** Grants of one volume that are not used yet: each use is a transition of the history. */
export const MOST_OPEN_GRANTS = 256;
const MOST_U32 = 0xffff_ffff;

/** What is in force before the first amendment. No transition names it. */
export const EMPTY_ANNEX: Annex = { secrets: new Map(), volumes: new Map() };

/** The one encoding of an annex. It may be one that `parseAnnex` refuses: nothing is checked. */
export function encodeAnnex({ secrets, volumes }: Annex): Uint8Array {
  const versionsOf = ({ versions }: AnnexSecret) =>
    versions.map(({ readers, sealed, version }) => ({ Readers: readers, Sealed: sealed, Version: version }));
  const document = {
    Secrets: mapValues(secrets, (secret) => ({ LatestVersion: secret.latestVersion, Versions: versionsOf(secret) })),
    Volumes: mapValues(volumes, (ofWorkload) =>
      mapValues(ofWorkload, ({ allowed, used }) => ({ FormatsAllowed: allowed, FormatsUsed: used })),
    ),
  };
  return fromUtf8(canonical(document));
}

/** @throws ManifestError `malformed_json`, `duplicate_key`, `invalid_annex` */
export function parseAnnex(bytes: Uint8Array): Annex {
  if (bytes.length > LARGEST_ANNEX) throw fault([], `${bytes.length} bytes`, `at most ${LARGEST_ANNEX}`);
  const document = fieldsOf(parseJson(bytes), [], ["Secrets", "Volumes"]);
  const annex = { secrets: readSecrets(document.get("Secrets")), volumes: readVolumes(document.get("Volumes")) };
  // Keys out of order, spaces, escapes that need not be: other bytes would be the same annex with another digest.
  if (!isEqual(encodeAnnex(annex), bytes)) throw fault([], "another form", "the canonical form of RFC 8785");
  return annex;
}

function readSecrets(value: unknown): Map<string, AnnexSecret> {
  const entries = objectOf(value, ["Secrets"]);
  if (entries.length > MOST_SECRETS) throw fault(["Secrets"], `${entries.length} secrets`, `at most ${MOST_SECRETS}`);
  const secrets = new Map(
    entries.map(([name, secret]) => {
      const path = ["Secrets", name];
      if (!isSecretName(name)) throw fault(path, quote(name), WANT_SECRET_NAME);
      return [name, readSecret(secret, path)];
    }),
  );
  requireDistinct(secrets);
  return secrets;
}

function readSecret(value: unknown, path: JsonPath): AnnexSecret {
  const fields = fieldsOf(value, path, ["LatestVersion", "Versions"]);
  const latestVersion = numberOf(fields.get("LatestVersion"), [...path, "LatestVersion"], 1);
  const at = [...path, "Versions"];
  const versions = listOf(fields.get("Versions"), at, 0, MOST_VERSIONS).map((version, index) =>
    readVersion(version, [...at, index]),
  );
  const [latest, before] = versions;
  if (latest !== undefined && latest.version !== latestVersion) {
    throw fault([...at, 0, "Version"], String(latest.version), `${latestVersion}, the latest version`);
  }
  if (before !== undefined && before.version >= latestVersion) {
    throw fault([...at, 1, "Version"], String(before.version), `less than ${latestVersion}`);
  }
  return { latestVersion, versions };
}

function readVersion(value: unknown, path: JsonPath): SecretVersion {
  const fields = fieldsOf(value, path, ["Readers", "Sealed", "Version"]);
  const sealed = fields.get("Sealed");
  if (typeof sealed !== "string" || !/^[0-9a-f]{64}$/.test(sealed)) {
    throw fault([...path, "Sealed"], kindOf(sealed), "a SHA-256: 64 lower-case hexadecimal digits");
  }
  return {
    version: numberOf(fields.get("Version"), [...path, "Version"], 1),
    readers: readReaders(fields.get("Readers"), [...path, "Readers"]),
    sealed,
  };
}

function readReaders(value: unknown, path: JsonPath): string[] {
  const readers = listOf(value, path, 1, MOST_READERS).map((reader, index) => {
    if (typeof reader === "string" && isReader(reader)) return reader;
    throw fault([...path, index], kindOf(reader), WANT_READER);
  });
  const wrong = readers.findIndex((reader, index) => index > 0 && (readers[index - 1] ?? "") >= reader);
  if (wrong > 0) throw fault([...path, wrong], quote(readers[wrong] ?? ""), "each reader once, sorted");
  return readers;
}

/** A ciphertext is bound to one name, version and set of readers. */
function requireDistinct(secrets: ReadonlyMap<string, AnnexSecret>): void {
  const seen = new Set<string>();
  for (const [name, { versions }] of secrets) {
    for (const [index, { sealed }] of versions.entries()) {
      if (seen.has(sealed)) {
        throw fault(["Secrets", name, "Versions", index, "Sealed"], sealed, "a ciphertext that no other version has");
      }
      seen.add(sealed);
    }
  }
}

function readVolumes(value: unknown): Map<string, Map<string, FormatGrants>> {
  return new Map(
    objectOf(value, ["Volumes"]).map(([id, volumes]) => {
      const path = ["Volumes", id];
      if (!isWorkloadId(id)) throw fault(path, quote(id), WANT_ID);
      const entries = objectOf(volumes, path);
      if (entries.length === 0) throw fault(path, "no volume", "at least one");
      return [id, new Map(entries.map(([name, grants]) => [name, readGrants(name, grants, [...path, name])]))];
    }),
  );
}

function readGrants(name: string, value: unknown, path: JsonPath): FormatGrants {
  if (!isVolumeName(name)) throw fault(path, quote(name), WANT_VOLUME_NAME);
  const fields = fieldsOf(value, path, ["FormatsAllowed", "FormatsUsed"]);
  const used = numberOf(fields.get("FormatsUsed"), [...path, "FormatsUsed"], 0);
  const allowed = numberOf(fields.get("FormatsAllowed"), [...path, "FormatsAllowed"], 0);
  if (allowed < used || allowed > used + MOST_OPEN_GRANTS) {
    const want = `${used}, which are used, to ${used + MOST_OPEN_GRANTS}`;
    throw fault([...path, "FormatsAllowed"], String(allowed), want);
  }
  return { allowed, used };
}

function objectOf(value: unknown, path: JsonPath): [string, unknown][] {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return Object.entries(value);
  throw fault(path, kindOf(value), "an object");
}

/** The values of an object that has these keys and no others. */
function fieldsOf(value: unknown, path: JsonPath, keys: readonly string[]): Map<string, unknown> {
  const fields = new Map(objectOf(value, path));
  const isAll = fields.size === keys.length && keys.every((key) => fields.has(key));
  if (!isAll) throw fault(path, `the keys ${quote([...fields.keys()].join(", "))}`, `exactly ${keys.join(", ")}`);
  return fields;
}

function listOf(value: unknown, path: JsonPath, least: number, most: number): unknown[] {
  if (!Array.isArray(value)) throw fault(path, kindOf(value), "a list");
  if (value.length >= least && value.length <= most) return value as unknown[];
  throw fault(path, `${value.length} entries`, `${least} to ${most}`);
}

function numberOf(value: unknown, path: JsonPath, least: number): number {
  const isOne = typeof value === "number" && Number.isInteger(value) && value >= least && value <= MOST_U32;
  if (isOne) return value;
  throw fault(path, kindOf(value), `a whole number from ${least} to ${MOST_U32}`);
}

function fault(path: JsonPath, got: string, want: string): ManifestError {
  return new ManifestError("invalid_annex", "the annex is not one", [{ where: pathText(path), got, want }]);
}

function kindOf(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" || value === null) return String(value);
  return Array.isArray(value) ? "a list" : typeof value;
}

function mapValues<From, To>(map: ReadonlyMap<string, From>, make: (value: From) => To): Map<string, To> {
  return new Map([...map].map(([key, value]) => [key, make(value)]));
}

/** A value of JSON as RFC 8785 writes it: no space, keys by their UTF-16 code units, also those that look like numbers. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = value instanceof Map ? ([...value] as [string, unknown][]) : Object.entries(value);
  const fields = entries
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`);
  return `{${fields.join(",")}}`;
}
