import type { z } from "zod/mini";
import { AttestAnswer, HistoryAnswer } from "../api/http/answers.ts";
import type { Evidence } from "../attestation/evidence.ts";
import type { PathStep } from "../attestation/nonce-tree.ts";
import { fromBase64, toBase64, toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { VerifyError } from "./error.ts";
import { readBySchema } from "./read-by-schema.ts";

/** What the HTTP API answered, in bytes. Nothing of it is trusted. */
export interface Answer {
  readonly nonce: Uint8Array;
  readonly path: readonly PathStep[];
  readonly evidence: Evidence;
  /** PEM. */
  readonly rootCa: string;
  readonly meshCa: string;
  /** Record of the latest transition. */
  readonly transition: Uint8Array;
  /** By digest, hex, oldest first. */
  readonly history: AttestAnswer["history"];
}

/** @throws VerifyError unexpected_answer */
export function readAnswer(body: unknown): Answer {
  const { nonce, path, evidence, transition, rootCa, meshCa, history } = readAs(AttestAnswer, body, "POST /v1/attest");
  return {
    rootCa,
    meshCa,
    history,
    nonce: hex(nonce),
    path: path.map(({ side, digest }) => ({ side, digest: hex(digest) })),
    evidence: readEvidence(evidence),
    transition: bytes(transition, "transition"),
  };
}

/** The other way round: an answer has one form in JSON. */
export function encodeAnswer({ nonce, path, evidence, transition, ...texts }: Answer): AttestAnswer {
  return {
    version: 1,
    ...texts,
    nonce: toHex(nonce),
    path: path.map(({ side, digest }) => ({ side, digest: toHex(digest) })),
    evidence: encodeEvidence(evidence),
    transition: toBase64(transition),
  };
}

function encodeEvidence(evidence: Evidence): AttestAnswer["evidence"] {
  if (evidence.kind === "snp") {
    const { kind, report, certificates, crl } = evidence;
    return {
      kind,
      report: toBase64(report),
      certificates: certificates.map(toBase64),
      ...(crl === undefined ? {} : { crl: toBase64(crl) }),
    };
  }
  const { kind, quote, collateral } = evidence;
  if (collateral === undefined) return { kind, quote: toBase64(quote) };
  const { tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl } = collateral;
  return {
    kind,
    quote: toBase64(quote),
    collateral: {
      tcbInfo: toBase64(tcbInfo),
      qeIdentity: toBase64(qeIdentity),
      signingChain: toBase64(signingChain),
      pckCrl: toBase64(pckCrl),
      rootCrl: toBase64(rootCrl),
    },
  };
}

/** @returns records, oldest first @throws VerifyError unexpected_answer */
export function readHistory(body: unknown): readonly Uint8Array[] {
  const { transitions } = readAs(HistoryAnswer, body, "GET /v1/history");
  return transitions.map((record, index) => bytes(record, `transitions[${index}]`));
}

function readEvidence(evidence: AttestAnswer["evidence"]): Evidence {
  if (evidence.kind === "snp") {
    const { kind, report, certificates, crl } = evidence;
    return {
      kind,
      report: bytes(report, "evidence.report"),
      certificates: certificates.map((der, index) => bytes(der, `evidence.certificates[${index}]`)),
      crl: crl === undefined ? undefined : bytes(crl, "evidence.crl"),
    };
  }
  const { kind, quote, collateral } = evidence;
  const part = (name: keyof NonNullable<typeof collateral>): Uint8Array =>
    bytes(collateral?.[name] ?? "", `evidence.collateral.${name}`);
  return {
    kind,
    quote: bytes(quote, "evidence.quote"),
    collateral: collateral && {
      tcbInfo: part("tcbInfo"),
      qeIdentity: part("qeIdentity"),
      signingChain: part("signingChain"),
      pckCrl: part("pckCrl"),
      rootCrl: part("rootCrl"),
    },
  };
}

function readAs<T>(schema: z.ZodMiniType<T>, body: unknown, what: string): T {
  const read = readBySchema(schema, body);
  if ("value" in read) return read.value;
  throw new VerifyError("unexpected_answer", "the answer is not what this API answers", {
    where: [what, ...read.path].join("."),
    got: "something else",
    want: read.want,
    hint: "look at the address, and whether the Coordinator is of another version",
  });
}

/** One text for the same bytes: or an answer could be changed and still be the same. */
function bytes(text: string, where: string): Uint8Array {
  const decoded = fromBase64(text);
  if (decoded !== undefined) return decoded;
  throw new VerifyError("unexpected_answer", "the answer is not what this API answers", {
    where,
    got: "something else",
    want: "base64 (RFC 4648 §4), with padding",
  });
}

/** @param text that the schema has seen */
function hex(text: string): Uint8Array {
  return fromHex(text) ?? new Uint8Array();
}
