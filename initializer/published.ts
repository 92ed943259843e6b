import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { endOf } from "./renewal.ts";
import type { SecretVersions } from "./granted-secrets.ts";
import type { PublishedFile } from "./publish.ts";
import { SECRETS } from "./secret-files.ts";

/** What an earlier run of this program left in the folder: the container is new, the pod is not. */

/** Those that a renewal goes on from. */
const NAMES = ["certChain.pem", "key.pem", "coordinator-root-ca.pem"] as const;

export type Published = Readonly<Record<(typeof NAMES)[number], string>>;

/** @returns undefined where there is no set of one time that is whole */
export async function readPublished(directory: string): Promise<Published | undefined> {
  try {
    const entries = await Promise.all(
      NAMES.map(async (name) => [name, await readFile(join(directory, "..data", name), "utf8")] as const),
    );
    const published = Object.fromEntries(entries) as Published;
    endOf(published["certChain.pem"]);
    return published;
  } catch {
    return undefined;
  }
}

/** @param keyMode of the key */
export function asFiles(published: Published, keyMode: number): readonly PublishedFile[] {
  return NAMES.map((name) => ({ name, content: published[name], mode: name === "key.pem" ? keyMode : 0o444 }));
}

/** The files of a folder of secrets that are published, of those names that there are. */
export async function readSecretFiles(
  directory: string,
  names: Iterable<string>,
): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of names) {
    const content = await readFile(join(directory, "..data", SECRETS, name)).catch(() => undefined);
    if (content !== undefined) files.set(name, content);
  }
  return files;
}

/** Of the secrets that are published. */
export async function publishedVersions(directory: string): Promise<SecretVersions> {
  const versions = new Map<string, number>();
  for (const file of await readdir(join(directory, "..data", SECRETS)).catch(() => [])) {
    const [, name = "", version = ""] = /^(.+)@(\d+)$/.exec(file) ?? [];
    if (version !== "") versions.set(name, Math.max(versions.get(name) ?? 0, Number(version)));
  }
  return versions;
}

/** `initializer healthcheck`: whether there is a certificate that has not expired. */
export async function healthcheck(
  directory: string,
  now: Date,
): Promise<{ readonly isGood: boolean; readonly text: string }> {
  const published = await readPublished(directory);
  if (published === undefined) return { isGood: false, text: "there are no certificates yet" };
  const until = endOf(published["certChain.pem"]);
  const time = until.toISOString();
  return until > now
    ? { isGood: true, text: `the certificate is valid until ${time}` }
    : { isGood: false, text: `the certificate expired at ${time}` };
}
