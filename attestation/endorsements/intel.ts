import { z } from "zod";
import { toHex } from "../../bytes/encode.ts";
import { parseRevocationList } from "../crl.ts";
import type { TdxCollateral } from "../evidence.ts";
import { parsePemCertificates } from "../pem.ts";
import type { PckCa } from "../tdx/chain.ts";
import type { Answer, CacheUse, EndorsementCache, EndorsementRequest } from "./cache.ts";

/**
 * Intel's provisioning certification service (Intel PCS API, version 4), and where Intel keeps the root's revocation
 * list. What it says about a platform is looked up by the FMSPC and the issuer of the platform's PCK certificate.
 */
const PCS = "https://api.trustedservices.intel.com";

export const QE_IDENTITY_URL = new URL(`${PCS}/tdx/certification/v4/qe/identity`);
export const ROOT_CRL_URL = new URL("https://certificates.trustedservices.intel.com/IntelSGXRootCA.der");

/** What a platform is looked up by, out of the certificate of its PCK. */
export interface TdxPlatform {
  /** 6 bytes. */
  readonly fmspc: Uint8Array;
  /** Who issued the certificate. */
  readonly ca: PckCa;
}

/** @param fmspc 6 bytes */
export function tcbInfoUrl(fmspc: Uint8Array): URL {
  return new URL(`${PCS}/tdx/certification/v4/tcb?fmspc=${toHex(fmspc)}`);
}

export function pckCrlUrl(ca: PckCa): URL {
  return new URL(`${PCS}/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`);
}

/**
 * Fetches what `verifyTdx` needs beside the quote. Nothing of it is verified.
 *
 * @param use renew: where it turned out to be superseded
 * @throws EndorsementError
 */
export async function fetchTdxCollateral(
  { fmspc, ca }: TdxPlatform,
  cache: EndorsementCache,
  use: CacheUse = {},
): Promise<TdxCollateral> {
  const get = (request: EndorsementRequest): Promise<Answer> => cache.get(request, use);
  const [tcbInfo, qeIdentity, pckCrl, rootCrl] = await Promise.all([
    get(tcbInfoRequest(fmspc)),
    get(qeIdentityRequest()),
    get(pckCrlRequest(ca)),
    get(rootCrlRequest()),
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

/** @param fmspc 6 bytes */
export const tcbInfoRequest = (fmspc: Uint8Array): EndorsementRequest =>
  documentRequest(tcbInfoUrl(fmspc), "tcbInfo", "TCB-Info-Issuer-Chain");

export const qeIdentityRequest = (): EndorsementRequest =>
  documentRequest(QE_IDENTITY_URL, "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain");

export const pckCrlRequest = (ca: PckCa): EndorsementRequest =>
  crlRequest(pckCrlUrl(ca), `the revocation list of Intel's ${ca} CA, DER`);

export const rootCrlRequest = (): EndorsementRequest =>
  crlRequest(ROOT_CRL_URL, "the revocation list of Intel's root, DER");

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
