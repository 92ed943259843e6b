import type { UseFormatGrantRequest } from "../../api/meshapi_pb.ts";
import { Refusal } from "../../api/refusal.ts";
import { chipOf } from "../../attestation/claims.ts";
import { toHex } from "../../bytes/encode.ts";
import { isVolumeName, policyReader, WANT_VOLUME_NAME, workloadReader } from "../../manifest/annex-names.ts";
import { admit } from "../../manifest/appraise.ts";
import type { PolicyEntry } from "../../manifest/manifest.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { quote } from "../../runtime/fault.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Audit } from "../observe/audit-events.ts";
import type { EncodedHistory } from "../state/encoded-history.ts";
import type { Snapshot } from "../state/snapshot.ts";
import type { StateGuard } from "../state/state-guard.ts";
import type { Workload } from "./workload.ts";

/** What the annex has for a workload: secrets by name, and leaves to format volumes. */

/**
 * As what a workload may read: by its policy, and by its WorkloadSecretID.
 *
 * @param policyHash SHA-256 of the policy, hex, by verified evidence
 * @param entry what the manifest in force grants to it
 */
export function readersOf(policyHash: string, { workloadSecretId: id }: Pick<PolicyEntry, "workloadSecretId">) {
  return new Set([policyReader(policyHash), ...(id === undefined ? [] : [workloadReader(id)])]);
}

export interface NamedSecrets {
  /** By which the rest was decided: what is in force when this returns. */
  readonly snapshot: Snapshot;
  readonly policy: PolicyEntry;
  readonly secrets: Awaited<ReturnType<StateGuard["secretsFor"]>>;
}

/**
 * The secrets for a workload, of what is in force when they are there: reading them takes a while.
 *
 * @throws Refusal `damaged_state`, what `admit` and `active` throw
 */
export async function namedSecrets(
  verified: Workload["verified"],
  guard: Pick<StateGuard, "active" | "secretsFor">,
): Promise<NamedSecrets> {
  for (;;) {
    const snapshot = guard.active();
    const policy = admit(verified, snapshot.manifest);
    try {
      const secrets = await guard.secretsFor(snapshot, readersOf(verified.policyHash, policy));
      if (guard.active() === snapshot) return { snapshot, policy, secrets };
    } catch (error) {
      // What is not in force any more may be gone already.
      if (guard.active() === snapshot) throw error;
    }
  }
}

export interface GrantOptions {
  readonly guard: StateGuard;
  readonly history: Pick<EncodedHistory, "requireRoomFor">;
  readonly audit: Audit;
  readonly log: Logger;
}

/**
 * Who asks is told by verified evidence alone: a workload can name a volume, and nobody else's.
 *
 * @throws Refusal `no_format_grant`, `malformed_request`, `history_too_large` and others
 */
export async function useFormatGrant(
  { volume }: UseFormatGrantRequest,
  { address, publicKey, verified }: Workload,
  { guard, history, audit, log }: GrantOptions,
  abandoned: AbortSignal,
): Promise<Record<string, never>> {
  if (!isVolumeName(volume)) {
    const details = { where: "volume", got: quote(volume), want: WANT_VOLUME_NAME };
    throw new Refusal("malformed_request", "no volume has such a name", details);
  }
  await history.requireRoomFor([guard.active().annex?.bytes ?? Buffer.alloc(0)]);
  const workloadBy = ({ manifest }: Snapshot): string | undefined => admit(verified, manifest).workloadSecretId;
  // A set that came first may have taken the policy away, or its WorkloadSecretID.
  const { before, snapshot } = await guard.useFormatGrant(
    (active) => ({ workload: workloadBy(active), volume }),
    abandoned,
  );
  const workload = workloadBy(before);
  const { manifestDigest, generation, latest } = snapshot;
  const { policyHash: policy, claims } = verified;
  const { allowed = 0, used = 0 } = snapshot.annex?.annex.volumes.get(workload ?? "")?.get(volume) ?? {};
  const grants = { workload: workload ?? "", volume, allowed, used };
  const inForce = { manifest: manifestDigest, generation, transition: latest.transition };
  log.info({ policy, ...grants, ...inForce }, "leave to format a volume used");
  audit.record({
    event: "format_grant_used",
    peer: address,
    key: toHex(spkiDigest(publicKey)),
    policy,
    tee: claims.tee,
    chip: chipOf(claims),
    ...inForce,
    ...grants,
  });
  return {};
}
