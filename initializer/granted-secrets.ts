import type { NamedSecret } from "../api/meshapi_pb.ts";
import { LARGEST_SECRET, LARGEST_SECRETS, MOST_SECRETS, MOST_VERSIONS } from "../manifest/annex.ts";
import { isSecretName, WANT_SECRET_NAME } from "../manifest/annex-names.ts";
import { quote } from "../runtime/fault.ts";
import { SecretError } from "./secret-error.ts";

/**
 * The secrets that a Coordinator gave, which become files by their names. They are looked at as if a stranger had made them
 * up: he could write to other places, or have one secret stand for another.
 */
export interface GrantedSecret {
  readonly name: string;
  /** The latest version first. */
  readonly versions: readonly { readonly version: number; readonly value: Uint8Array }[];
}

/** @throws SecretError malformed_secrets */
export function grantedSecrets(given: readonly NamedSecret[]): readonly GrantedSecret[] {
  const secrets = new Map<string, { version: number; value: Uint8Array }[]>();
  let bytes = 0;
  for (const [index, { name, version, value }] of given.entries()) {
    const refuse = (got: string, want: string): SecretError =>
      malformed(`secret ${index + 1} of the answer`, got, want);
    if (!isSecretName(name)) throw refuse(`the name ${quote(name)}`, WANT_SECRET_NAME);
    if (version < 1) throw refuse(`version ${version}`, "1 or more");
    if (value.length < 1 || value.length > LARGEST_SECRET) {
      throw refuse(`${value.length} bytes`, `1 to ${LARGEST_SECRET}`);
    }
    bytes += value.length;
    const versions = secrets.get(name) ?? [];
    if (versions.some((other) => other.version === version)) {
      throw refuse(`version ${version} of ${name} again`, "each version once");
    }
    if (versions.length === MOST_VERSIONS) throw refuse(`a version more of ${name}`, `at most ${MOST_VERSIONS}`);
    secrets.set(name, [...versions, { version, value }]);
  }
  if (secrets.size > MOST_SECRETS) throw malformed("the answer", `${secrets.size} secrets`, `at most ${MOST_SECRETS}`);
  if (bytes > LARGEST_SECRETS) {
    throw malformed("the answer", `secrets of ${bytes} bytes together`, `at most ${LARGEST_SECRETS}`);
  }
  return [...secrets].map(([name, versions]) => {
    return { name, versions: versions.toSorted((one, other) => other.version - one.version) };
  });
}

/** The latest version of each secret, by its name. */
export type SecretVersions = ReadonlyMap<string, number>;

export function versionsOf(secrets: readonly GrantedSecret[]): SecretVersions {
  return new Map(secrets.map(({ name, versions }) => [name, versions[0]?.version ?? 0]));
}

/**
 * A Coordinator with an older copy of the state gives secrets of before. A pod that runs need not take them.
 *
 * @throws SecretError older_secrets
 */
export function requireNotOlder(before: SecretVersions, now: SecretVersions): void {
  for (const [name, version] of now) {
    const had = before.get(name) ?? 0;
    if (version >= had) continue;
    throw new SecretError("older_secrets", "a secret is older than the one that the pod has", {
      where: `the secret ${name}`,
      got: `version ${version}`,
      want: `version ${had} or a later one`,
      hint: "a Coordinator with an older copy of the state answers; if owners went back to a backup, restart the pod",
    });
  }
}

function malformed(where: string, got: string, want: string): SecretError {
  return new SecretError("malformed_secrets", "these are no secrets of a Coordinator", {
    where,
    got,
    want,
    hint: "find out who answers at COORDINATOR_HOST, and whether Coordinator and Initializer are of one version",
  });
}
