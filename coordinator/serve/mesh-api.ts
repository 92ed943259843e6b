import { addMethods } from "../../api/grpc.ts";
import type { Methods } from "../../api/grpc-server.ts";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import { Refusal } from "../../api/refusal.ts";
import type { Clock } from "../../attestation/clock.ts";
import type { Vendors } from "../../attestation/endorsements/vendors.ts";
import { chipOf, claimExtensions } from "../../attestation/claims.ts";
import type { EvidenceCache } from "../../attestation/evidence-cache.ts";
import { toHex } from "../../bytes/encode.ts";
import type { Appraiser } from "../../channel/exchange.ts";
import { toStatus } from "../../channel/rejection.ts";
import { admit, verifyClaimant } from "../../manifest/appraise.ts";
import { grantExtensions } from "../../manifest/grant-extensions.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { trustDigest } from "../../pki/trust-digest.ts";
import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { fingerprint, inForce, reasonOf } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import { issueChain } from "../state/authority.ts";
import { earlierSecrets } from "../state/earlier-seeds.ts";
import type { EncodedHistory } from "../state/encoded-history.ts";
import type { Snapshot } from "../state/snapshot.ts";
import { settleMs, trustedAt } from "../state/overlap.ts";
import { exchangeLatest, giveSecrets } from "./peer-api.ts";
import { namedSecrets, useFormatGrant } from "./workload-annex.ts";
import type { Caller, Workload } from "./workload.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { StateGuard } from "../state/state-guard.ts";

/** The API for workloads: whoever has proven to be a VM that the manifest lists gets a certificate for its key. */

export interface MeshApiOptions {
  readonly guard: StateGuard;
  /** Whether there is room in the history. */
  readonly history: Pick<EncodedHistory, "requireRoomFor">;
  readonly allowInsecure: boolean;
  readonly vendors: Vendors;
  readonly cache: EvidenceCache;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly log: Logger;
  readonly clock: Clock;
  /** Whether this Coordinator's own evidence proves nothing. */
  readonly insecure: boolean;
}

export function appraiseWorkload({
  guard,
  allowInsecure,
  vendors,
  cache,
  metrics,
  audit,
  clock,
}: MeshApiOptions): Appraiser<Caller> {
  return async ({ address, evidence, reportData, publicKey }, abandoned) => {
    // Where nothing may be served, Coordinators are still let in, by the manifest that was in force.
    const { manifest, manifestDigest, generation } = guard.known ?? guard.active();
    if (evidence === undefined) return { address, publicKey, verified: undefined };
    try {
      const options = { allowInsecure, clock, vendors, cache, abandoned };
      const verified = await metrics.timeVerification(() =>
        verifyClaimant({ evidence, reportData }, manifest, options),
      );
      if (admit(verified, manifest).role !== "coordinator") guard.active();
      return { address, publicKey, verified };
    } catch (error) {
      // It was replaced: what it says about anybody else than a Coordinator is worth nothing.
      guard.active();
      // Who does not wait for the answer was not refused.
      if (abandoned?.aborted === true) throw error;
      audit.record({
        event: "connection_refused",
        peer: address,
        key: toHex(spkiDigest(publicKey)),
        manifest: manifestDigest,
        generation,
        ...reasonOf(error),
      });
      throw error;
    }
  };
}

export function serveMeshApi(methods: Methods, workload: Caller, options: MeshApiOptions): void {
  const { guard, log, metrics, audit } = options;
  const policyHash = workload.verified?.policyHash;
  const handlers = metrics.instrument(MeshAPI, {
    newMeshCert: async () => newMeshCert(withEvidence(workload), options),
    currentTrust: async () => currentTrust(options),
    recover: async () => giveSecrets(withEvidence(workload), options),
    latest: async (request) => exchangeLatest(request, withEvidence(workload), options),
    useFormatGrant: async (request, { signal }) => useFormatGrant(request, withEvidence(workload), options, signal),
  });
  addMethods(methods, MeshAPI, handlers, (error, method) => {
    log.warn({ policy: policyHash, method }, `${REFUSED[method] ?? "refused"}: ${describeError(error)}`);
    audit.record({
      event: "request_refused",
      api: "mesh",
      method,
      peer: workload.address,
      key: toHex(spkiDigest(workload.publicKey)),
      ...(policyHash !== undefined && { policy: policyHash }),
      ...inForce(guard),
      ...reasonOf(error),
    });
    return toStatus(error);
  });
}

/** @throws Refusal `evidence_missing` */
function withEvidence({ verified, ...caller }: Caller): Workload {
  if (verified !== undefined) return { ...caller, verified };
  throw new Refusal("evidence_missing", "this is for a confidential VM, and the client showed no evidence");
}

async function currentTrust({ guard, clock }: MeshApiOptions) {
  const { authority, previousMeshes, manifest, annex } = guard.active();
  const previous = trustedAt(previousMeshes, clock.now(manifest));
  const digest = trustDigest([authority.meshCa, ...previous.map(({ ca }) => ca)]);
  return { digest, ...annexMessage(annex) };
}

const REFUSED: Readonly<Record<string, string>> = {
  [MeshAPI.method.newMeshCert.name]: "no certificate",
  [MeshAPI.method.recover.name]: "no secrets for this peer",
  [MeshAPI.method.useFormatGrant.name]: "no leave to format",
};

/** The account of Coordinators that call: the places of those can't be taken by workloads. */
export function peerAccount({ known }: StateGuard, { verified }: Caller): string | undefined {
  if (verified === undefined) return undefined;
  const isPeer = known?.manifest.policies.get(verified.policyHash)?.role === "coordinator";
  return isPeer ? `coordinator ${chipOf(verified.claims)}` : undefined;
}

async function newMeshCert({ address, publicKey, verified }: Workload, { guard, audit, log, clock }: MeshApiOptions) {
  // The manifest may have changed since the connection was made: one snapshot decides, alone, the last one.
  const { snapshot, policy, secrets } = await namedSecrets(verified, guard);
  const { claims } = verified;
  const granted = grantExtensions({ policy: verified.policyHash, workloadSecretId: policy.workloadSecretId });
  const leaf = { publicKey, names: policy.sans, extensions: new Map([...claimExtensions(claims), ...granted]) };
  const time = clock.now(snapshot.manifest);
  const certChain = issueChain(snapshot.authority, leaf, time);
  const issued = {
    policy: verified.policyHash,
    names: policy.sans.map((name) => name.value),
    key: toHex(spkiDigest(publicKey)),
    manifest: snapshot.manifestDigest,
    generation: snapshot.generation,
  };
  log.info(issued, "certificate issued");
  audit.record({
    event: "certificate_issued",
    peer: address,
    certificate: fingerprint(certChain),
    tee: claims.tee,
    chip: chipOf(claims),
    ...issued,
  });
  return {
    certChain,
    meshCaCert: snapshot.authority.meshCa,
    rootCaCert: snapshot.authority.rootCa,
    previousMeshCaCerts: trustedAt(snapshot.previousMeshes, time).map(({ ca }) => ca),
    settleMs: settleMs(snapshot, time),
    ...(policy.workloadSecretId === undefined ? {} : secretsOf(snapshot, policy.workloadSecretId, time)),
    secrets: secrets.map(({ name, version, value }) => ({ name, version, value: value.reveal() })),
    ...annexMessage(snapshot.annex),
  };
}

function annexMessage(annex: Snapshot["annex"]): { annex?: Uint8Array } {
  return annex === undefined ? {} : { annex: Buffer.from(annex.digest, "hex") };
}

function secretsOf(snapshot: Snapshot, id: string, time: Date) {
  const { seed, seedShares, manifest } = snapshot;
  const earlier = earlierSecrets(snapshot, id, manifest.workloadSecretOverlapMs, time);
  return {
    workloadSecretSeed: seed.workloadSecret(id).reveal(),
    workloadSecretVersion: seedShares.secretVersion,
    earlierWorkloadSecrets: earlier.map(({ version, secret, until }) => {
      return { version, seed: secret.reveal(), until: BigInt(until) };
    }),
  };
}
