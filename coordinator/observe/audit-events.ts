import type { TeeKind } from "../../attestation/evidence.ts";

/**
 * Every event of the audit log, and its fields. Names and fields are stable: programs read them. A change of this file is
 * a change of docs/observability.md, which a test compares with it. Nothing secret has a place in any of them.
 *
 * Digests are SHA-256, lower-case hex. `key` is the digest of the SubjectPublicKeyInfo that the peer proved to hold;
 * `peer` is its address and port, which the network may have made up.
 */
export type AuditEvent =
  | { readonly event: "coordinator_started"; readonly version: string; readonly phase: string }
  | { readonly event: "coordinator_stopped" }
  | CertificateIssued
  | ConnectionRefused
  | RequestRefused
  | RefusalsSuppressed
  | ManifestSet
  | SeedSharesMade
  | RekeyPrepared
  | Rekeyed
  | SecretSealed
  | Amended
  | FormatGrantUsed
  | ChangePending
  | ChangeDropped
  | ShareAccepted
  | Recovered
  | PeerRecoveryGiven
  | PeerRecoveryReceived
  | PeerRecoveryRefused
  | TakenOver
  | HistoryForked
  | StateRolledBack;

interface Peer {
  readonly peer: string;
  readonly key: string;
}

/** Who brings what owners have signed. Over HTTP nobody proves a key. */
interface Carrier extends Partial<Peer> {
  readonly peer: string;
}

/** The manifest that the event was decided by, or that it brought into force. */
export interface InForce {
  readonly manifest: string;
  /** How many manifests the history had then. */
  readonly generation: number;
}

interface Reason {
  /** A code of `api/refusal.ts` or of another error of ours; `internal` for all else. */
  readonly code: string;
  readonly message: string;
}

interface CertificateIssued extends Peer, InForce {
  readonly event: "certificate_issued";
  /** Of the certificate in DER, as `openssl x509 -fingerprint -sha256` shows it. */
  readonly certificate: string;
  readonly policy: string;
  readonly names: readonly string[];
  readonly tee: TeeKind;
  /** What the CPU says it is: CHIP_ID (SNP) or PPID (TDX). */
  readonly chip: string;
}

/** A connection to the mesh API that ended because of the evidence that it came with, or didn't. */
interface ConnectionRefused extends Peer, InForce, Reason {
  readonly event: "connection_refused";
}

interface RequestRefused extends Partial<Peer>, Partial<InForce>, Reason {
  readonly event: "request_refused";
  readonly peer: string;
  readonly api: "user" | "mesh" | "transit" | "http";
  readonly method: string;
  /** Not of the user API: the policy of the VM, of the transit port that of the certificate. */
  readonly policy?: string;
}

/** Refusals that have no line of their own, by code. */
interface RefusalsSuppressed {
  readonly event: "refusals_suppressed";
  /** An address without its port; `others` stands for those that were too many to be told apart. */
  readonly address: string;
  readonly codes: Readonly<Record<string, number>>;
}

interface ManifestSet extends Carrier, InForce {
  readonly event: "manifest_set";
  /** Digest of the key of a workload owner who signed it. Not of the first set. */
  readonly owner?: string;
  /** All who signed it. Not of the first set. */
  readonly owners?: readonly string[];
  /** Of the transition that brought it into force. */
  readonly transition: string;
  /** Until when certificates of before stay trusted by pods that renew theirs; absent: they don't. */
  readonly until?: string;
}

/** Seed shares were made anew: by the first set, for other owners or another threshold, or by a rekey. */
interface SeedSharesMade extends Carrier, InForce {
  readonly event: "seed_shares_made";
  /** Digests of the keys of the seed share owners. */
  readonly holders: readonly string[];
  readonly threshold: number;
}

/** A seed was made that nothing uses before workload owners sign the root CA key that it gives. */
interface RekeyPrepared extends Peer, InForce {
  readonly event: "rekey_prepared";
  /** Digest of the key of the new root CA. */
  readonly root: string;
  /** Until when it is kept, ISO 8601. */
  readonly until: string;
}

/** A prepared seed is in force. */
interface Rekeyed extends Carrier, InForce {
  readonly event: "rekeyed";
  /** Digests of the keys of the workload owners who signed it. */
  readonly owners: readonly string[];
  /** Of the transition that brought it into force. */
  readonly transition: string;
  readonly root: string;
  /** Of the workload secrets. */
  readonly secrets: number;
}

/** An owner gave the value of a secret, which nobody can read before an annex names it. */
interface SecretSealed extends Peer, Partial<InForce> {
  readonly event: "secret_sealed";
  /** `<name>@<version>` */
  readonly secret: string;
  /** Digest of the ciphertext. */
  readonly sealed: string;
}

/** Another annex is in force. The manifest stays, and so does every certificate. */
interface Amended extends Peer, InForce {
  readonly event: "amended";
  /** Digests of the keys of the workload owners who signed it. */
  readonly owners: readonly string[];
  /** Of the transition that brought it into force. */
  readonly transition: string;
  /** Digest of the annex. */
  readonly annex: string;
  /** `secret <name>`, `volume <WorkloadSecretID>/<volume>`. */
  readonly changed: readonly string[];
}

/** A workload may format a volume now, once. */
interface FormatGrantUsed extends Peer, InForce {
  readonly event: "format_grant_used";
  /** Its WorkloadSecretID. */
  readonly workload: string;
  readonly volume: string;
  /** How many leaves there are, and how many of them are used now. */
  readonly allowed: number;
  readonly used: number;
  readonly policy: string;
  readonly tee: TeeKind;
  readonly chip: string;
  /** Of the transition that counts it. */
  readonly transition: string;
}

interface Pending extends Carrier, Partial<InForce> {
  /** Digest of the manifest that would be set, or of the annex of an amendment. */
  readonly pending: string;
  /** Digests of the keys of all owners who have signed it now. */
  readonly owners: readonly string[];
  /** How many more it takes. */
  readonly missing: number;
}

/** An owner signed a change that takes more owners. */
interface ChangePending extends Pending {
  readonly event: "change_pending";
}

/** An owner took a signature below such a change back. */
interface ChangeDropped extends Pending {
  readonly event: "change_dropped";
}

/** A seed share that is not enough yet. */
interface ShareAccepted extends Peer {
  readonly event: "share_accepted";
  /** How many more it takes. */
  readonly missing: number;
}

interface Recovered extends Peer, InForce {
  readonly event: "recovered";
}

/** The secrets of the deployment were given to another Coordinator. */
interface PeerRecoveryGiven extends Peer, InForce {
  readonly event: "peer_recovery_given";
  readonly policy: string;
  readonly tee: TeeKind;
  readonly chip: string;
}

/** They were taken from another Coordinator, and are in force. */
interface PeerRecoveryReceived extends Peer, InForce {
  readonly event: "peer_recovery_received";
  readonly policy: string;
  readonly tee: TeeKind;
  readonly chip: string;
}

/** A peer did not give them, or what it gave was not taken. Once for each reason of each peer in a row. */
interface PeerRecoveryRefused extends Reason {
  readonly event: "peer_recovery_refused";
  readonly peer: string;
}

/** What is in force had nobody who knew its mesh CA: this Coordinator made another one. */
interface TakenOver extends InForce {
  readonly event: "taken_over";
  readonly transition: string;
}

interface HistoryForked extends InForce, Reason {
  readonly event: "history_forked";
}

/** The store shows an older pointer than one that was seen. */
interface StateRolledBack extends InForce {
  readonly event: "state_rolled_back";
}

/** Whoever keeps count of what happens. Recording never fails and never waits. */
export interface Audit {
  record(event: AuditEvent): void;
}
