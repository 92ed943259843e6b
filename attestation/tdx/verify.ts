import { isEqual, toHex } from "../../bytes/encode.ts";
import { type EvidenceCode, EvidenceError } from "../error.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import type { EvidenceCache } from "../evidence-cache.ts";
import { type Parse, parseAnew } from "../parse.ts";
import type { SignedTime } from "../signed-time.ts";
import type { Certificate } from "../x509.ts";
import { type VerifiedCollateral, verifyCollateral } from "./collateral.ts";
import type { Pck } from "./pck.ts";
import type { TdxQuote } from "./quote.ts";
import type { TdxTrustAnchors } from "./roots.ts";
import { type SignedTdxQuote, verifyTdxSignature } from "./signature.ts";
import type { QeIdentity, TcbInfo } from "./tcb-info.ts";
import { evaluateTcb, moduleIdentity, type TcbEvaluation, type TcbStatus } from "./tcb.ts";

/**
 * Verifies that an Intel CPU with TDX made a quote: the chain up to a pinned root, the quoting enclave that the PCK
 * vouches for, the attestation key that the enclave vouches for, and the quote's signature; and that all of it is
 * software of Intel's. How up to date it is comes along; whether that will do, and whether the quote says the right
 * thing, is for `validateTdx`.
 */

/** A quote that was verified. There is no way to one but through this file: the class is not exported. */
class VerifiedQuote {
  readonly kind = "tdx";
  /** There is no software TEE of this kind. */
  readonly simulated = false;
  readonly #quote: TdxQuote;
  readonly #pck: Pck;
  readonly #tcb: TcbEvaluation;
  readonly #path: readonly Certificate[];
  readonly #collateral: VerifiedCollateral;

  constructor({ quote, pck, chain }: SignedTdxQuote, tcb: TcbEvaluation, collateral: VerifiedCollateral) {
    this.#quote = quote;
    this.#pck = pck;
    this.#tcb = tcb;
    this.#path = [chain.pck, chain.ca, chain.root];
    this.#collateral = collateral;
  }

  get quote(): TdxQuote {
    return this.#quote;
  }

  get reportData(): Uint8Array {
    return this.#quote.body.reportData;
  }

  get pck(): Pck {
    return this.#pck;
  }

  get tcbStatus(): TcbStatus {
    return this.#tcb.status;
  }

  /** Intel's security advisories for what the platform lacks. */
  get advisories(): readonly string[] {
    return this.#tcb.advisories;
  }

  /** Which of Intel's assessments the TCB was judged by: the smaller number of TCB info and QE identity. */
  get tcbEvaluationDataNumber(): number {
    return Math.min(...this.tcbEvaluationDataNumbers);
  }

  /** The certificates that vouch for it, from the platform's to the root's. */
  get path(): readonly Certificate[] {
    return this.#path;
  }

  /** Which of Intel's evaluations of known weaknesses the TCB info and the QE identity are of. */
  get tcbEvaluationDataNumbers(): readonly [tcbInfo: number, qeIdentity: number] {
    const { tcbInfo, qeIdentity } = this.#collateral;
    return [tcbInfo.tcbEvaluationDataNumber, qeIdentity.tcbEvaluationDataNumber];
  }

  /** When Intel signed what was verified on the way: TCB info, QE identity and revocation lists. */
  get signedTimes(): readonly SignedTime[] {
    return this.#collateral.signedTimes;
  }
}

export type VerifiedTdxQuote = VerifiedQuote;

export interface TdxVerifyOptions {
  /** The verifier's own; where it has none, the evidence's. */
  readonly collateral?: TdxCollateral | undefined;
  readonly trustAnchors: TdxTrustAnchors;
  /** The time to verify for. */
  readonly at: Date;
  /** What earlier verifications parsed. It makes this one faster and changes nothing about its outcome. */
  readonly cache?: EvidenceCache | undefined;
}

/**
 * Parses and verifies evidence.
 *
 * @throws EvidenceError
 */
export function verifyTdx(evidence: TdxEvidence, options: TdxVerifyOptions): VerifiedTdxQuote {
  const { cache, trustAnchors, at } = options;
  const verifyWith = (parse: Parse): VerifiedTdxQuote => {
    const signed = verifyTdxSignature(evidence, trustAnchors, at, parse);
    return verifySignedTdx(signed, options.collateral ?? evidence.collateral, at, parse);
  };
  return cache === undefined ? verifyWith(parseAnew) : cache.remembering(verifyWith);
}

/**
 * The second step: judges the platform and its software by what Intel says about them.
 *
 * @throws EvidenceError
 */
export function verifySignedTdx(
  signed: SignedTdxQuote,
  collateral: TdxCollateral | undefined,
  at: Date,
  parse: Parse,
): VerifiedTdxQuote {
  const { quote, pck, chain } = signed;
  const verified = verifyCollateral(parse, required(collateral), chain, at);
  const { tcbInfo, qeIdentity } = verified;
  checkQeIdentity(quote, qeIdentity);
  checkPlatform(pck, tcbInfo);
  checkModule(quote, tcbInfo);
  const tcb = evaluateTcb(tcbInfo, qeIdentity, { pck, qeIsvSvn: quote.qeReport.isvSvn, body: quote.body });
  return new VerifiedQuote(signed, tcb, verified);
}

function required(collateral: TdxCollateral | undefined): TdxCollateral {
  if (collateral !== undefined) return collateral;
  throw new EvidenceError("collateral_missing", "there is no collateral to judge the platform by", {
    where: "collateral",
    got: "none",
    want: "TCB info, QE identity, their signing chain and the revocation lists",
    hint: "fetch it from Intel's provisioning certification service by the FMSPC of the PCK certificate",
  });
}

function checkQeIdentity({ qeReport }: TdxQuote, identity: QeIdentity): void {
  const message = "the quote was not made by Intel's quoting enclave";
  checkEqual("qe_identity_mismatch", message, [
    ["QE MRSIGNER", qeReport.mrSigner, identity.mrsigner],
    ["QE ISVPRODID", qeReport.isvProdId, identity.isvprodid],
    ["QE MISCSELECT", masked(qeReport.miscSelect, identity.miscselectMask), identity.miscselect],
    ["QE ATTRIBUTES", masked(qeReport.attributes, identity.attributesMask), identity.attributes],
  ]);
}

/** The TCB info of another platform could call an old one up to date. */
function checkPlatform({ fmspc, pceId }: Pck, tcbInfo: TcbInfo): void {
  if (isEqual(fmspc, tcbInfo.fmspc) && isEqual(pceId, tcbInfo.pceId)) return;
  throw new EvidenceError("fmspc_mismatch", "the TCB info is for another platform", {
    where: "FMSPC, PCEID",
    got: `${toHex(tcbInfo.fmspc)}, ${toHex(tcbInfo.pceId)}`,
    want: `${toHex(fmspc)}, ${toHex(pceId)}`,
    hint: "fetch the TCB info of the PCK certificate's FMSPC",
  });
}

function checkModule({ body }: TdxQuote, tcbInfo: TcbInfo): void {
  const { mrsigner, attributes, attributesMask } = moduleIdentity(body, tcbInfo);
  checkEqual("tdx_module_mismatch", "the TDX module is not Intel's", [
    ["MRSIGNERSEAM", body.mrSignerSeam, mrsigner],
    ["SEAMATTRIBUTES", masked(body.seamAttributes, attributesMask), attributes],
  ]);
}

/** @param fields name, what is there, what would be right */
function checkEqual(
  code: EvidenceCode,
  message: string,
  fields: readonly (readonly [where: string, got: Uint8Array | number, want: Uint8Array | number])[],
): void {
  for (const [where, got, want] of fields) {
    const holds = typeof got === "number" || typeof want === "number" ? got === want : isEqual(got, want);
    if (!holds) throw new EvidenceError(code, message, { where, got: shown(got), want: shown(want) });
  }
}

function shown(value: Uint8Array | number): string {
  return typeof value === "number" ? `${value}` : toHex(value);
}

/** The bits that the mask selects. */
function masked(bytes: Uint8Array, mask: Uint8Array): Uint8Array {
  return bytes.map((byte, index) => byte & (mask[index] ?? 0xff));
}
