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
  | ShareAccepted
  | Recovered;

interface Peer {
  readonly peer: string;
  readonly key: string;
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

interface RequestRefused extends Peer, Partial<InForce>, Reason {
  readonly event: "request_refused";
  readonly api: "user" | "mesh";
  readonly method: string;
  /** Only of the mesh API: the policy of the VM. */
  readonly policy?: string;
}

/** Refusals that have no line of their own, by code. */
interface RefusalsSuppressed {
  readonly event: "refusals_suppressed";
  /** An address without its port; `others` stands for those that were too many to be told apart. */
  readonly address: string;
  readonly codes: Readonly<Record<string, number>>;
}

interface ManifestSet extends Peer, InForce {
  readonly event: "manifest_set";
  /** Digest of the key of the workload owner who signed it. Not of the first set. */
  readonly owner?: string;
  /** Of the transition that brought it into force. */
  readonly transition: string;
  /** Until when certificates of before stay trusted by pods that renew theirs; absent: they don't. */
  readonly until?: string;
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

/** Whoever keeps count of what happens. Recording never fails and never waits. */
export interface Audit {
  record(event: AuditEvent): void;
}
