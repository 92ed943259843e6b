import type { Fault } from "../runtime/fault.ts";
import type { Annex, AnnexSecret, FormatGrants, SecretVersion } from "./annex.ts";
import { pathText } from "./json.ts";

/**
 * How an annex may follow another: one rule for each kind of transition that has another annex than the one before. Both
 * were parsed, so each by itself is sound (annex.ts). The Coordinator asks before it makes a step, and whoever reads a
 * history asks again.
 */

/**
 * What owners may change by an amendment: give a secret another version, of the next number, beside the latest one of
 * before or in its place; drop the earlier version; remove a secret; allow more formats, or take back leaves that nobody
 * used. Nothing that was there vanishes, and nobody but the Coordinator counts a leave as used.
 *
 * @returns the first thing that is not allowed; undefined: all of it is
 */
export function faultOfAmendment(before: Annex, after: Annex): Fault | undefined {
  const isSame = (one: Annex, other: Annex): boolean =>
    sameSecrets(one, other) && sameVolumes(one.volumes, other.volumes, sameGrants);
  if (isSame(before, after)) return { where: "$", got: "the annex of before", want: "another one" };
  const gone = goneFrom(before, after);
  if (gone !== undefined) return gone;
  const known = new Set([...before.secrets.values()].flatMap(({ versions }) => versions.map(({ sealed }) => sealed)));
  for (const [name, secret] of after.secrets) {
    const fault = faultOfSecret(before.secrets.get(name), secret, known);
    if (fault !== undefined) return { ...fault, where: pathText(["Secrets", name, "Versions"]) };
  }
  for (const [id, volumes] of after.volumes) {
    for (const [name, { used }] of volumes) {
      const usedBefore = before.volumes.get(id)?.get(name)?.used ?? 0;
      if (used === usedBefore) continue;
      return { where: pathText(["Volumes", id, name, "FormatsUsed"]), got: String(used), want: String(usedBefore) };
    }
  }
  return undefined;
}

/**
 * What the Coordinator may change by itself: it counts one leave to format one volume as used.
 *
 * @returns what is not allowed; undefined: it is exactly that
 */
export function faultOfUse(before: Annex, after: Annex): Fault | undefined {
  const want = "the annex of before, with one leave to format more used";
  if (!sameSecrets(before, after)) return { where: "$.Secrets", got: "other secrets", want };
  let uses = 0;
  const isNext = (one: FormatGrants, other: FormatGrants): boolean => {
    uses += Number(other.used === one.used + 1);
    return one.allowed === other.allowed && (other.used === one.used || other.used === one.used + 1);
  };
  if (!sameVolumes(before.volumes, after.volumes, isNext)) return { where: "$.Volumes", got: "other leaves", want };
  return uses === 1 ? undefined : { where: "$.Volumes", got: `${uses} more uses`, want };
}

/**
 * What a rekey changes: every secret is sealed anew, for the new seed opens nothing that the old one sealed. All else stays.
 *
 * @returns what is not allowed; undefined: it is exactly that
 */
export function faultOfReseal(before: Annex, after: Annex): Fault | undefined {
  const want = "the annex of before, with every secret sealed anew";
  if (!sameVolumes(before.volumes, after.volumes, sameGrants)) return { where: "$.Volumes", got: "other leaves", want };
  const known = new Set([...before.secrets.values()].flatMap(({ versions }) => versions.map(({ sealed }) => sealed)));
  const isResealed = (one: SecretVersion, other: SecretVersion): boolean =>
    one.version === other.version && sameReaders(one, other) && !known.has(other.sealed);
  if (sameKeys(before.secrets, after.secrets) && sameSecretsBy(before, after, isResealed)) return undefined;
  return { where: "$.Secrets", got: "other secrets, or one that was not sealed anew", want };
}

type Unplaced = Omit<Fault, "where">;

function goneFrom(before: Annex, after: Annex): Fault | undefined {
  const want = "what was there: a secret stays without versions, a volume with its numbers";
  for (const name of before.secrets.keys()) {
    if (!after.secrets.has(name)) return { where: pathText(["Secrets", name]), got: "nothing", want };
  }
  for (const [id, volumes] of before.volumes) {
    for (const name of volumes.keys()) {
      if (after.volumes.get(id)?.has(name) !== true) {
        return { where: pathText(["Volumes", id, name]), got: "nothing", want };
      }
    }
  }
  return undefined;
}

/** @param known every ciphertext of before */
function faultOfSecret(before: AnnexSecret | undefined, after: AnnexSecret, known: ReadonlySet<string>) {
  const versionBefore = before?.latestVersion ?? 0;
  const versions = before?.versions ?? [];
  if (after.latestVersion === versionBefore) return faultOfRest(versions, after);
  if (after.latestVersion !== versionBefore + 1) {
    return { got: `version ${after.latestVersion}`, want: `at most version ${versionBefore + 1}` } satisfies Unplaced;
  }
  const [latest, kept] = after.versions;
  if (latest === undefined) return { got: "a new version that is not there", want: "a removed one keeps its number" };
  if (known.has(latest.sealed)) return { got: "a ciphertext of another version", want: "a new one" };
  if (kept === undefined || sameVersion(versions[0], kept)) return undefined;
  return { got: `version ${kept.version} beside the new one`, want: "the latest of before as it was, or none" };
}

/** Without a new version, versions only go: the earlier one, or all. */
function faultOfRest(before: readonly SecretVersion[], { versions }: AnnexSecret): Unplaced | undefined {
  const isPart = versions.every((version, index) => sameVersion(before[index], version));
  return isPart
    ? undefined
    : { got: "another version under the same number", want: "the versions of before, or fewer" };
}

function sameVersion(one: SecretVersion | undefined, other: SecretVersion): boolean {
  if (one === undefined) return false;
  return one.version === other.version && one.sealed === other.sealed && sameReaders(one, other);
}

function sameReaders({ readers: one }: SecretVersion, { readers: other }: SecretVersion): boolean {
  return one.length === other.length && one.every((reader, index) => reader === other[index]);
}

function sameGrants(one: FormatGrants, other: FormatGrants): boolean {
  return one.allowed === other.allowed && one.used === other.used;
}

function sameSecrets(before: Annex, after: Annex): boolean {
  return sameKeys(before.secrets, after.secrets) && sameSecretsBy(before, after, sameVersion);
}

function sameSecretsBy(
  before: Annex,
  after: Annex,
  isSame: (one: SecretVersion, other: SecretVersion) => boolean,
): boolean {
  return [...before.secrets].every(([name, { latestVersion, versions }]) => {
    const other = after.secrets.get(name);
    if (other?.latestVersion !== latestVersion || other.versions.length !== versions.length) return false;
    return versions.every((version, index) => {
      const next = other.versions[index];
      return next !== undefined && isSame(version, next);
    });
  });
}

/** Whether the same volumes are there, and each pair is as it has to be. Every pair is looked at. */
function sameVolumes(
  before: Annex["volumes"],
  after: Annex["volumes"],
  isSame: (one: FormatGrants, other: FormatGrants) => boolean,
): boolean {
  if (!sameKeys(before, after)) return false;
  return [...before].every(([id, volumes]) => {
    const others = after.get(id);
    if (others === undefined || !sameKeys(volumes, others)) return false;
    return [...volumes].every(([name, grants]) => {
      const other = others.get(name);
      return other !== undefined && isSame(grants, other);
    });
  });
}

function sameKeys(one: ReadonlyMap<string, unknown>, other: ReadonlyMap<string, unknown>): boolean {
  return one.size === other.size && [...one.keys()].every((key) => other.has(key));
}
