import { type Annex, encodeAnnex, parseAnnex, type SecretVersion } from "../../manifest/annex.ts";
import { faultOfAmendment } from "../../manifest/annex-changes.ts";
import { ManifestError } from "../../manifest/error.ts";

/** The annexes that owners' commands make of the one in force. Each is what this program made, and so may be signed. */

/**
 * @param version of the next number
 * @param revoke the version before goes
 */
export function withSecret(annex: Annex, name: string, version: SecretVersion, revoke: boolean): Annex {
  const latest = annex.secrets.get(name)?.versions[0];
  const versions = latest === undefined || revoke ? [version] : [version, latest];
  return { ...annex, secrets: new Map([...annex.secrets, [name, { latestVersion: version.version, versions }]]) };
}

/** It stays, without versions, so that no number comes again. */
export function withoutSecret(annex: Annex, name: string): Annex {
  const latestVersion = annex.secrets.get(name)?.latestVersion ?? 0;
  return { ...annex, secrets: new Map([...annex.secrets, [name, { latestVersion, versions: [] }]]) };
}

/** One format more than before. */
export function withFormatAllowed(annex: Annex, workload: string, volume: string): Annex {
  const ofWorkload = annex.volumes.get(workload);
  const { allowed = 0, used = 0 } = ofWorkload?.get(volume) ?? {};
  const volumes = new Map([...(ofWorkload ?? []), [volume, { allowed: allowed + 1, used }] as const]);
  return { ...annex, volumes: new Map([...annex.volumes, [workload, volumes]]) };
}

/** No format more than were done: leaves that nobody used are taken back. */
export function withoutOpenFormats(annex: Annex, workload: string, volume: string): Annex {
  const ofWorkload = annex.volumes.get(workload);
  const { used = 0 } = ofWorkload?.get(volume) ?? {};
  const volumes = new Map([...(ofWorkload ?? []), [volume, { allowed: used, used }] as const]);
  return { ...annex, volumes: new Map([...annex.volumes, [workload, volumes]]) };
}

/**
 * As the Coordinator and everybody who reads the history will judge it.
 *
 * @returns its encoding
 * @throws ManifestError invalid_annex
 */
export function requireNextAnnex(before: Annex, after: Annex): Uint8Array {
  const bytes = encodeAnnex(after);
  parseAnnex(bytes);
  const fault = faultOfAmendment(before, after);
  if (fault !== undefined) throw new ManifestError("invalid_annex", "the annex may not change so", [fault]);
  return bytes;
}
