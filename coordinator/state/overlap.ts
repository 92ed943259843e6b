import { X509Certificate } from "node:crypto";
import type { Manifest } from "../../manifest/manifest.ts";
import { endOfTrust } from "../../manifest/end-of-trust.ts";
import { type Authority, endMeshCa } from "./authority.ts";

/** A mesh CA of before that is still trusted beside the one in force. */
export interface PreviousMesh {
  /** PEM: self-signed as it was, but valid no longer than `until`. */
  readonly ca: string;
  readonly until: Date;
}

/** Every one more costs everybody who checks a stranger's certificate one signature more. */
const MOST = 3;

/**
 * How long a new mesh CA is to be known before its certificates are used, in milliseconds. Initializers that stay ask every
 * `ASK_MS` (initializer/keeper.ts), and a mesh proxy takes up what they write within two seconds.
 */
export const SETTLE_MS = 30_000;

/**
 * Which mesh CAs stay trusted when a manifest is set. Those that the manifest before trusted go on for as long as they
 * had, and no longer than the new manifest allows.
 *
 * @param before what was in force until `now`; undefined: nothing
 * @param revoke the caller wants none
 * @returns `refused`: why there are none, although the manifest has an overlap and there was something before
 */
export function overlap(
  before:
    | { readonly manifest: Manifest; readonly authority: Authority; readonly previousMeshes: readonly PreviousMesh[] }
    | undefined,
  manifest: Manifest,
  revoke: boolean,
  now: Date,
): { readonly previousMeshes: readonly PreviousMesh[]; readonly refused: string | undefined } {
  if (before === undefined || manifest.meshCaOverlapMs === 0) return { previousMeshes: [], refused: undefined };
  const refused = revoke ? "the set revokes what was issued before" : endOfTrust(before.manifest, manifest);
  if (refused !== undefined) return { previousMeshes: [], refused };
  const until = new Date(now.getTime() + manifest.meshCaOverlapMs);
  // Who has their keys is gone, so none can be made to end earlier.
  const earlier = trustedAt(before.previousMeshes, now).filter(({ until: end }) => end <= until);
  const last = { ca: endMeshCa(before.authority, now, until), until };
  return { previousMeshes: [last, ...earlier].slice(0, MOST), refused: undefined };
}

/** Those whose time is not over. */
export function trustedAt(meshes: readonly PreviousMesh[], now: Date): readonly PreviousMesh[] {
  return meshes.filter(({ until }) => until > now);
}

/** What is left until everybody who asks has learned of the mesh CA, in milliseconds. */
export function settleMs(
  { previousMeshes, began }: { readonly previousMeshes: readonly PreviousMesh[]; readonly began: Date },
  now: Date,
): number {
  if (trustedAt(previousMeshes, now).length === 0) return 0;
  // The clock may have been set back since.
  return Math.min(Math.max(began.getTime() + SETTLE_MS - now.getTime(), 0), SETTLE_MS);
}

/** @param ca PEM, from another Coordinator of this deployment */
export function previousMeshOf(ca: string): PreviousMesh {
  return { ca, until: new X509Certificate(ca).validToDate };
}
