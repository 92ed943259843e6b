import { X509Certificate } from "node:crypto";
import type { Clock } from "../../attestation/clock.ts";
import type { Vendors } from "../../attestation/endorsements/vendors.ts";
import type { Attester, Evidence } from "../../attestation/evidence.ts";
import type { EvidenceCache } from "../../attestation/evidence-cache.ts";
import { type Identity, identityOf } from "../../attestation/identity.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { ChannelError } from "../../channel/error.ts";
import type { Appraiser } from "../../channel/exchange.ts";
import { type VerifiedClaimant, verifyStranger } from "../../manifest/appraise.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { acceptPeer, type ListedPeer } from "./accept-peer.ts";

/** What a Coordinator compares its peers with. */
export interface Own extends Identity {
  readonly simulated: boolean;
  /** The root of the software TEE that this Coordinator's own evidence brings along. */
  readonly simulatedRoots: ReadonlySet<string>;
}

/**
 * @param identity by what the host can't change on its way
 * @param evidence of this VM. Only the root of a software TEE is taken from it
 */
export function ownOf(identity: Identity, { insecure }: Attester, evidence: Evidence): Own {
  const simulated = insecure !== undefined;
  return { ...identity, simulated, simulatedRoots: new Set(simulated ? selfSigned(evidence) : []) };
}

function selfSigned(evidence: Evidence): string[] {
  if (evidence.kind !== "snp") return [];
  return evidence.certificates
    .map((der) => new X509Certificate(der))
    .filter((certificate) => certificate.checkIssued(certificate))
    .map(({ publicKey }) => toHex(spkiDigest(publicKey)));
}

export interface AcceptanceOptions {
  readonly own: Own;
  readonly listed: readonly ListedPeer[];
  readonly allowInsecure: boolean;
  readonly clock: Clock;
  readonly vendors: Vendors;
  readonly cache: EvidenceCache;
  /** SHA-256 of the SubjectPublicKeyInfo of this Coordinator's own server: it is no peer of its own. */
  readonly serverKey: Uint8Array;
}

/** A Service has this Coordinator's own address among the others. */
export class IsSelf extends Error {}

/** Decides about the server of a connection: by its evidence for this very connection, and by what this Coordinator is itself. */
export function peerAcceptance({ own, listed, serverKey, ...options }: AcceptanceOptions): Appraiser<VerifiedClaimant> {
  return async ({ evidence, reportData, publicKey }, abandoned) => {
    if (isEqual(spkiDigest(publicKey), serverKey)) throw new IsSelf("this is the Coordinator itself");
    if (evidence === undefined) throw new ChannelError("evidence_missing", "the peer showed no evidence");
    const verified = await verifyStranger({ evidence, reportData }, own.simulatedRoots, { ...options, abandoned });
    acceptPeer(own, { ...identityOf(verified.evidence), simulated: verified.evidence.simulated }, listed);
    return verified;
  };
}
