import { z } from "zod";
import { EvidenceError } from "../error.ts";
import { parseRevocationList } from "../crl.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import { parsePemCertificates } from "../pem.ts";
import { parsePck } from "../tdx/pck.ts";
import { parseTdxQuote } from "../tdx/quote.ts";
import type { Answer, EndorsementCache, EndorsementRequest } from "./cache.ts";

/**
 * Intel's provisioning certification service (Intel PCS API, version 4), and where Intel keeps the root's revocation
 * list. What it says about a platform is looked up by the FMSPC and the issuer of the platform's PCK certificate.
 */
const PCS = "https://api.trustedservices.intel.com";

export const QE_IDENTITY_URL = new URL(`${PCS}/tdx/certification/v4/qe/identity`);
export const ROOT_CRL_URL = new URL("https://certificates.trustedservices.intel.com/IntelSGXRootCA.der");

/** The two CAs that issue PCK certificates, by common name, as the service calls them. */
const PCK_CAS: Readonly<Record<string, PckCa>> = {
  "Intel SGX PCK Platform CA": "platform",
  "Intel SGX PCK Processor CA": "processor",
};
type PckCa = "platform" | "processor";

/** @param fmspc 6 bytes */
export function tcbInfoUrl(fmspc: Buffer): URL {
  return new URL(`${PCS}/tdx/certification/v4/tcb?fmspc=${fmspc.toString("hex")}`);
}

export function pckCrlUrl(ca: PckCa): URL {
  return new URL(`${PCS}/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`);
}

/**
 * Fetches what `verifyTdx` needs beside the quote. Nothing of it is verified, before or after, nor is the quote.
 *
 * @throws EndorsementError
 * @throws EvidenceError where the quote or its PCK certificate is malformed or missing
 */
export async function fetchTdxCollateral({ quote }: TdxEvidence, cache: EndorsementCache): Promise<TdxCollateral> {
  const { fmspc, ca } = platformOf(quote);
  const [tcbInfo, qeIdentity, pckCrl, rootCrl] = await Promise.all([
    cache.get(documentRequest(tcbInfoUrl(fmspc), "tcbInfo", "TCB-Info-Issuer-Chain")),
    cache.get(documentRequest(QE_IDENTITY_URL, "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain")),
    cache.get(crlRequest(pckCrlUrl(ca), `the revocation list of Intel's ${ca} CA, DER`)),
    cache.get(crlRequest(ROOT_CRL_URL, "the revocation list of Intel's root, DER")),
  ]);
  return {
    tcbInfo: tcbInfo.body,
    qeIdentity: qeIdentity.body,
    // Mostly the same twice; two signers while Intel changes from one to the next.
    signingChain: Buffer.from([...new Set([chainOf(tcbInfo), chainOf(qeIdentity)])].join("")),
    pckCrl: pckCrl.body,
    rootCrl: rootCrl.body,
  };
}

function platformOf(quote: Buffer): { readonly fmspc: Buffer; readonly ca: PckCa } {
  const certificates = parsePemCertificates(parseTdxQuote(quote).certificateChain, "PCK certificate chain");
  const pck = certificates.find(({ commonName }) => commonName === "Intel SGX PCK Certificate");
  const issuer = certificates.find(({ subject }) => pck?.issuer.equals(subject));
  const ca = PCK_CAS[issuer?.commonName ?? ""];
  if (pck !== undefined && ca !== undefined) return { fmspc: parsePck(pck).fmspc, ca };
  throw new EvidenceError("certificate_missing", "the certificate chain is not complete", {
    where: "PCK certificate chain",
    got: certificates.map(({ commonName }) => JSON.stringify(commonName)).join(", "),
    want: `Intel SGX PCK Certificate and its issuer, ${Object.keys(PCK_CAS).join(" or ")}`,
    hint: "take the chain from Intel's provisioning certification service",
  });
}

/** A signed document. The chain of its signer comes in a header, percent-encoded PEM. */
function documentRequest(url: URL, key: string, header: string): EndorsementRequest {
  const schema = z.object({ [key]: z.object({ nextUpdate: z.iso.datetime() }) });
  const validUntil = (answer: Answer): Date => {
    const document = schema.parse(JSON.parse(answer.body.toString("utf8")));
    const signers = parsePemCertificates(Buffer.from(chainOf(answer)), header);
    const times = [Date.parse(document[key]?.nextUpdate ?? ""), ...signers.map(({ notAfter }) => notAfter.getTime())];
    return new Date(Math.min(...times));
  };
  return { url, what: `{"${key}":{…},"signature":"…"} with the header ${header}`, header, validUntil };
}

function crlRequest(url: URL, what: string): EndorsementRequest {
  return { url, what, validUntil: ({ body }) => parseRevocationList(body).nextUpdate };
}

/** PEM with a line end behind it, so that another one can follow. */
function chainOf({ header = "" }: Answer): string {
  return `${decodeURIComponent(header).trimEnd()}\n`;
}
