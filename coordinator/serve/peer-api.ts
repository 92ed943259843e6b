import type { LatestRequest, LatestResponseSchema, RecoverResponseSchema } from "../../api/meshapi_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Refusal } from "../../api/refusal.ts";
import { chipOf } from "../../attestation/claims.ts";
import { identityOf } from "../../attestation/identity.ts";
import type { VerifiedEvidence } from "../../attestation/tee.ts";
import { toHex } from "../../bytes/encode.ts";
import { admit } from "../../manifest/appraise.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Audit } from "../observe/audit-events.ts";
import { requireCoordinator } from "../state/authorize.ts";
import type { Handover } from "../state/handover.ts";
import type { StateGuard } from "../state/state-guard.ts";
import type { Workload } from "./workload.ts";

/** What Coordinators ask of each other. Who may is decided by the manifest in force, anew with every request. */
export interface PeerApiOptions {
  readonly guard: StateGuard;
  /** Whether this Coordinator's own evidence proves nothing. */
  readonly insecure: boolean;
  readonly audit: Audit;
  readonly log: Logger;
}

/**
 * Gives the secrets of the deployment away.
 *
 * @throws Refusal `not_coordinator`, `stale_state`, `needs_recovery` and others
 */
export async function giveSecrets(
  peer: Workload,
  { guard, insecure, audit, log }: PeerApiOptions,
): Promise<MessageInitShape<typeof RecoverResponseSchema>> {
  const handover = guard.handOver();
  const { manifestDigest, generation } = requirePeer(guard, peer);
  requireUnexposed(peer.verified.evidence, insecure);
  const { claims, policyHash } = peer.verified;
  const given = { policy: policyHash, manifest: manifestDigest, generation };
  const key = toHex(spkiDigest(peer.publicKey));
  log.info({ peer: peer.address, ...given }, "gave the secrets of the deployment to a peer");
  audit.record({
    event: "peer_recovery_given",
    peer: peer.address,
    key,
    tee: claims.tee,
    chip: chipOf(claims),
    ...given,
  });
  return handoverMessage(handover);
}

export function handoverMessage(handover: Handover): MessageInitShape<typeof RecoverResponseSchema> {
  const { seed, salt, meshKey, rootCa, meshCa, pointer, previousMeshCas, began } = handover;
  return {
    seed: seed.reveal(),
    salt,
    meshKey: meshKey.reveal(),
    rootCaCert: rootCa,
    meshCaCert: meshCa,
    pointer,
    previousMeshCaCerts: [...previousMeshCas],
    beganMs: BigInt(began.getTime()),
  };
}

/** Tells what is in force here, and is told what is in force there. @throws Refusal `not_coordinator`, `wrong_seed` */
export async function exchangeLatest(
  { pointer, fork, rekey }: LatestRequest,
  peer: Workload,
  { guard }: PeerApiOptions,
): Promise<MessageInitShape<typeof LatestResponseSchema>> {
  requirePeer(guard, peer);
  const told = await guard.hear({ pointer, fork, rekey }, toHex(spkiDigest(peer.publicKey)));
  const answer = { pointer: told.pointer, fork: [...told.fork], state: guard.phase };
  return told.rekey === undefined ? answer : { ...answer, rekey: told.rekey };
}

/** Also where nothing may be served: those that are behind, or found two histories, have to find out about each other. */
function requirePeer({ known }: StateGuard, { verified }: Workload): { manifestDigest: string; generation: number } {
  if (known === undefined) {
    throw new Refusal("needs_recovery", "the Coordinator lacks its secrets, so it knows no peer");
  }
  requireCoordinator(verified.policyHash, admit(verified, known.manifest));
  return known;
}

/**
 * A manifest may let workloads run on a machine for tests, which its host may look into, or on the software TEE. No manifest
 * makes that a place for the secrets of the deployment.
 *
 * @param insecure whether this Coordinator runs on the software TEE itself
 * @throws Refusal `not_coordinator`
 */
export function requireUnexposed(evidence: VerifiedEvidence, insecure: boolean): void {
  const { exposed } = identityOf(evidence);
  if (!exposed && (insecure || !evidence.simulated)) return;
  throw new Refusal("not_coordinator", "the host of the peer can read its memory", {
    where: "the peer's evidence",
    got: exposed ? "a VM that its host may debug or migrate" : "a software TEE",
    want: "a VM whose memory is its own",
  });
}
