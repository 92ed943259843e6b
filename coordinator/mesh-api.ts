import type { KeyObject } from "node:crypto";
import type { Server } from "@grpc/grpc-js";
import { addService } from "../api/grpc.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { Refusal } from "../api/refusal.ts";
import type { EvidenceCache } from "../attestation/evidence-cache.ts";
import type { Appraiser } from "../channel/exchange.ts";
import { toStatus } from "../channel/rejection.ts";
import { admit, type AppraiseOptions, verifyClaimant, type VerifiedClaimant } from "../manifest/appraise.ts";
import { spkiDigest } from "../pki/keys.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { issueChain } from "./authority.ts";
import { claimExtensions } from "./claim-extensions.ts";
import type { Metrics } from "./metrics.ts";
import type { StateGuard } from "./state-guard.ts";

/** The API for workloads: whoever has proven to be a VM that the manifest lists gets a certificate for its key. */

/** A VM whose evidence was good for this connection. What it may have is decided anew with every request. */
export interface Workload {
  readonly publicKey: KeyObject;
  readonly verified: VerifiedClaimant;
}

export interface MeshApiOptions {
  readonly guard: StateGuard;
  readonly allowInsecure: boolean;
  readonly complete: AppraiseOptions["complete"];
  readonly cache: EvidenceCache;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly now: () => Date;
}

export function appraiseWorkload({
  guard,
  allowInsecure,
  complete,
  cache,
  metrics,
  now,
}: MeshApiOptions): Appraiser<Workload> {
  return async ({ evidence, reportData, publicKey }) => {
    const { manifest } = guard.active();
    try {
      if (evidence === undefined) {
        throw new Refusal(
          "evidence_missing",
          "the mesh API is for confidential VMs, and the client showed no evidence",
        );
      }
      const options = { allowInsecure, at: now(), complete, cache };
      const verified = await verifyClaimant({ evidence, reportData }, manifest, options);
      admit(verified, manifest);
      return { publicKey, verified };
    } catch (error) {
      metrics.countAttestationFailure();
      throw error;
    }
  };
}

export function serveMeshApi(server: Server, workload: Workload, options: MeshApiOptions): void {
  const { log, metrics } = options;
  const handlers = metrics.instrument(MeshAPI, { newMeshCert: () => newMeshCert(workload, options) });
  addService(server, MeshAPI, handlers, (error) => {
    log.warn({ policy: workload.verified.policyHash }, `no certificate: ${describeError(error)}`);
    return toStatus(error);
  });
}

async function newMeshCert({ publicKey, verified }: Workload, { guard, log, now }: MeshApiOptions) {
  // The manifest may have changed since the connection was made: the snapshot of this instant decides, alone.
  const snapshot = guard.active();
  const policy = admit(verified, snapshot.manifest);
  const leaf = { publicKey, names: policy.sans, extensions: claimExtensions(verified.claims) };
  const certChain = await issueChain(snapshot.authority, leaf, now());
  log.info(
    {
      policy: verified.policyHash,
      names: policy.sans.map((name) => name.value),
      key: spkiDigest(publicKey).toString("hex"),
      manifest: snapshot.manifestDigest,
      generation: snapshot.generation,
    },
    "certificate issued",
  );
  const secret =
    policy.workloadSecretId === undefined ? undefined : snapshot.seed.workloadSecret(policy.workloadSecretId);
  return {
    certChain,
    meshCaCert: snapshot.authority.meshCa,
    rootCaCert: snapshot.authority.rootCa,
    ...(secret === undefined ? {} : { workloadSecretSeed: secret.reveal() }),
  };
}
