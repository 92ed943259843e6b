/** The names in an annex (annex.ts): of secrets, of who may read them, and of volumes. */

/** One file below `secrets/` each, beside the file of the workload's own seed. */
const SECRET_NAME = /^[A-Za-z0-9][-_.A-Za-z0-9]{0,62}$/;
const SEED_FILE = "workload-secret-seed";

export const WANT_SECRET_NAME = `1 to 63 letters, digits, "-", "_" and ".", the first a letter or digit, not beginning with ${SEED_FILE}`;

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !name.startsWith(SEED_FILE);
}

/** As a PersistentVolumeClaim's (RFC 1123). */
const VOLUME_NAME = /^[a-z0-9](?:[-a-z0-9.]{0,61}[a-z0-9])?$/;

export const WANT_VOLUME_NAME = '1 to 63 lower-case letters, digits, "-" and ".", the first and the last no sign';

export function isVolumeName(name: string): boolean {
  return VOLUME_NAME.test(name);
}

/** In UTF-16 code units. */
const LONGEST_ID = 256;

export const WANT_ID = `a WorkloadSecretID of 1 to ${LONGEST_ID} characters`;

/** A manifest may have others: a workload of such an id can't be named here. */
export function isWorkloadId(id: string): boolean {
  return id.length >= 1 && id.length <= LONGEST_ID && id.isWellFormed();
}

export const WANT_READER = `"policy:" and the policy hash (64 lower-case hexadecimal digits), or "workload:" and ${WANT_ID}`;

/** Who runs under one policy. @param hash SHA-256 of the policy document, hex */
export function policyReader(hash: string): string {
  return `policy:${hash}`;
}

/** Who has a WorkloadSecretID by the manifest in force, whatever the policy. */
export function workloadReader(id: string): string {
  return `workload:${id}`;
}

export function isReader(reader: string): boolean {
  const [, id] = /^workload:(.*)$/s.exec(reader) ?? [];
  return id === undefined ? /^policy:[0-9a-f]{64}$/.test(reader) : isWorkloadId(id);
}
