import { isSameValue } from "../manifest/same-value.ts";
import type { Annex, AnnexSecret, FormatGrants, SecretVersion } from "../manifest/annex.ts";
import type { Change } from "./manifest-changes.ts";
import { valueChanges } from "./value-changes.ts";

/** What an amendment changed, in words for the owners who sign it and in the form of the report. Never values. */

/** A place of an annex, before and after. Undefined: there was, or is, none. */
interface Pair<T> {
  readonly name: string;
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** One line for each secret and volume that another annex treats differently. */
export function annexSummary(before: Annex, after: Annex): string[] {
  const [secrets, volumes] = [pairs(before.secrets, after.secrets), pairs(byPath(before), byPath(after))];
  return [...secrets.map(secretLine), ...volumes.flatMap(volumeLines)];
}

/** The same as the report has the changes of a manifest. */
export function annexChanges(before: Annex, after: Annex): Change[] {
  const secrets = pairs(before.secrets, after.secrets).flatMap(({ name, ...pair }) =>
    changesOf(`secret ${name}`, pair, viewOfSecret),
  );
  const volumes = pairs(byPath(before), byPath(after)).flatMap(({ name, ...pair }) =>
    changesOf(`volume ${name}`, pair, ({ allowed, used }) => ({ "formats allowed": allowed, "formats used": used })),
  );
  return [...secrets, ...volumes];
}

/** `version 2, read by policy:…, workload:web` */
export function versionText({ version, readers }: Pick<SecretVersion, "version" | "readers">): string {
  return `version ${version}, read by ${readers.join(", ")}`;
}

/** Grants by `<WorkloadSecretID>/<volume>`; a volume has no slash in its name. */
export function byPath({ volumes }: Annex): Map<string, FormatGrants> {
  return new Map([...volumes].flatMap(([id, all]) => [...all].map(([name, grants]) => [`${id}/${name}`, grants])));
}

function pairs<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): Pair<T>[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .toSorted()
    .map((name) => ({ name, before: before.get(name), after: after.get(name) }))
    .filter((pair) => !isSameValue(pair.before, pair.after));
}

function secretLine({ name, before, after }: Pair<AnnexSecret>): string {
  const text = (secret: AnnexSecret | undefined): string => (secret?.versions ?? []).map(versionText).join("; ");
  const was = text(before) === "" ? "" : ` (before: ${text(before)})`;
  return `secret ${name}: ${text(after) || "removed with all versions"}${was}`;
}

function volumeLines({ name, before, after }: Pair<FormatGrants>): string[] {
  const [old, now] = [before ?? NONE, after ?? NONE];
  const left = `${now.allowed - now.used} of ${now.allowed} left`;
  const more = now.allowed - old.allowed;
  return [
    ...(now.used === old.used ? [] : [`volume ${name}: formatted, by leave ${now.used} (${left})`]),
    ...(more > 0 ? [`volume ${name}: may be formatted ${times(more)} more, whatever is on it (${left})`] : []),
    ...(more < 0 ? [`volume ${name}: may be formatted ${times(-more)} less (${left})`] : []),
  ];
}

const NONE: FormatGrants = { allowed: 0, used: 0 };

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}

/** Ciphertexts are told by their digests, which tell nothing of the values. */
function viewOfSecret({ latestVersion, versions }: AnnexSecret): object {
  const [latest, before] = versions;
  return {
    "latest version": latestVersion,
    readers: latest?.readers,
    ciphertext: latest?.sealed,
    "readable before it": before && { version: before.version, readers: before.readers },
  };
}

function changesOf<T>(
  subject: string,
  { before, after }: Omit<Pair<T>, "name">,
  viewOf: (entry: T) => object,
): Change[] {
  const kind = before === undefined ? "added" : isGone(after) ? "removed" : "changed";
  const [old, now] = [before, after].map((entry) => (entry === undefined ? {} : viewOf(entry)));
  return valueChanges(old, now).map(({ path, from = null, to = null }) => ({ kind, subject, path, from, to }));
}

function isGone(entry: unknown): boolean {
  return entry === undefined || (entry as Partial<AnnexSecret>).versions?.length === 0;
}
