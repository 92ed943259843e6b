import { EvidenceError } from "../attestation/error.ts";
import { parsePemCertificates } from "../attestation/pem.ts";
import type { Certificate } from "../attestation/x509.ts";
import { MalformedBytes } from "../bytes/cursor.ts";
import { fromUtf8, toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { HistoryError, requireHistory, type Step } from "./history.ts";
import { parseTransition } from "./transition.ts";

/** A history as a Coordinator tells it: in answer to `GetManifests`, or put together from its HTTP API. */
export interface ToldHistory {
  /** Oldest first. */
  readonly history: readonly ToldStep[];
  /** PEM. */
  readonly rootCaCert: string;
  readonly meshCaCert: string;
}

export interface ToldStep {
  /** Empty where it is the one of the step before: an amendment keeps it, and so it is not sent again. */
  readonly manifest: Uint8Array;
  /** SHA-256 of the record, 32 bytes. */
  readonly transition: Uint8Array;
  readonly transitionRecord: Uint8Array;
  /** Empty: none. */
  readonly annex: Uint8Array;
}

/**
 * The history of an attested, active Coordinator, checked by what its owners signed. The Coordinator checks the same, but
 * who reads this need not rely on which version of it runs there, nor on what it was recovered with.
 */
export interface AttestedHistory {
  /** Oldest first. */
  readonly steps: readonly Step[];
  /** SHA-256 of the transitions, hex, and the last of them. */
  readonly transitions: readonly string[];
  readonly latest: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly rootKey: string;
  readonly meshKey: string;
}

/** @throws HistoryError */
export function attestedHistory({ history, rootCaCert, meshCaCert }: ToldHistory): AttestedHistory {
  const steps: Step[] = [];
  for (const { manifest: bytes, transition: digest, transitionRecord, annex } of history) {
    const transition = readTransition(transitionRecord, digest, `step ${steps.length + 1}`);
    const manifest = bytes.length > 0 ? bytes : (steps.at(-1)?.manifest ?? bytes);
    steps.push({ transition, manifest, annex: annex.length > 0 ? annex : undefined });
  }
  const latest = steps.at(-1)?.transition;
  if (latest === undefined) throw new HistoryError("broken_history", "the Coordinator has no history");
  requireHistory(steps);
  const rootKey = keyOf(rootCaCert, "root CA");
  requireEqual("the root CA", rootKey, latest.rootKey);
  return {
    steps,
    transitions: steps.map(({ transition }) => transition.digest),
    latest: latest.digest,
    rootKey,
    meshKey: keyOf(meshCaCert, "mesh CA"),
  };
}

/** @param digest what its SHA-256 has to be @throws HistoryError */
export function readTransition(record: Uint8Array, digest: Uint8Array, where: string): Step["transition"] {
  try {
    const transition = parseTransition(record);
    requireEqual(`${where}, transition`, transition.digest, toHex(digest));
    return transition;
  } catch (cause) {
    if (!(cause instanceof MalformedBytes)) throw cause;
    throw new HistoryError("broken_history", "a transition of the history is malformed", {
      where: `${where}, ${cause.field}`,
      got: cause.got,
      want: cause.want,
      hint: "use the `contrast` of the Coordinator's version",
      cause,
    });
  }
}

/** @param pem a certificate's @returns SHA-256 of its SubjectPublicKeyInfo, hex @throws HistoryError */
export function keyOf(pem: string, name: string): string {
  return sha256Hex(caOf(pem, name).spki);
}

/** @param pem one certificate @param name what it is, for errors @throws HistoryError */
export function caOf(pem: string, name: string): Certificate {
  try {
    const [certificate, ...others] = parsePemCertificates(fromUtf8(pem), name);
    if (certificate !== undefined && others.length === 0) return certificate;
    throw new HistoryError("broken_history", `the ${name} is several certificates`, { want: "one" });
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause;
    throw new HistoryError("broken_history", `the ${name} is no certificate`, { want: "PEM", cause });
  }
}

function requireEqual(where: string, got: string, want: string): void {
  if (got === want) return;
  throw new HistoryError("broken_history", "the history is not of this Coordinator", { where, got, want });
}
