import type { z } from "zod/mini";
import { toLatin1, toUtf8 } from "../../bytes/encode.ts";
import { hexBytes } from "../../bytes/hex.ts";
import { EvidenceError } from "../error.ts";
import { parseRevocationList } from "../crl.ts";
import type { TdxCollateral } from "../evidence.ts";
import type { Parse } from "../parse.ts";
import { memoize, onceTrue } from "../memoize.ts";
import { parsePemCertificates } from "../pem.ts";
import { checkNotRevoked } from "../revocation.ts";
import type { SignedTime } from "../signed-time.ts";
import type { Certificate } from "../x509.ts";
import { type PckChain, verifySignerChain } from "./chain.ts";
import { hasSigned, isSignedBy, p256KeyOf } from "./ecdsa.ts";
import { type QeIdentity, qeIdentitySchema, type TcbInfo, tcbInfoSchema } from "./tcb-info.ts";

/**
 * Verifies what Intel says about a platform: TCB info and QE identity by their signatures, their signers and the
 * platform's certificates by the revocation lists, and all of them by time. Where it came from does not matter.
 */

/** What is left of the collateral once it is verified. */
export interface VerifiedCollateral {
  readonly tcbInfo: TcbInfo;
  readonly qeIdentity: QeIdentity;
  readonly signedTimes: readonly SignedTime[];
}

/**
 * @param parse how what does not depend on the platform is parsed
 * @param chain of the platform, which the lists are to be looked up for
 * @throws EvidenceError
 */
export function verifyCollateral(
  parse: Parse,
  collateral: TdxCollateral,
  chain: PckChain,
  at: Date,
): VerifiedCollateral {
  const certificates = parse(parseSigningChain, collateral.signingChain);
  // The root that vouches for the platform has to vouch for what is said about it, too.
  const { signers } = verifySignerChain(certificates, new Set([chain.rootDigest]), at);
  const tcbInfo = verifyDocument(parse(TCB_INFO.cut, collateral.tcbInfo), TCB_INFO, signers, at);
  const qeIdentity = verifyDocument(parse(QE_IDENTITY.cut, collateral.qeIdentity), QE_IDENTITY, signers, at);
  const signedTimes = [
    { what: `issueDate of the ${TCB_INFO.name}`, time: tcbInfo.issueDate },
    { what: `issueDate of the ${QE_IDENTITY.name}`, time: qeIdentity.issueDate },
    checkNotRevoked(parse(parseRevocationList, collateral.rootCrl), [chain.ca, ...signers], chain.root, isSignedBy, at),
    checkNotRevoked(parse(parseRevocationList, collateral.pckCrl), [chain.pck], chain.ca, isSignedBy, at),
  ];
  return { tcbInfo, qeIdentity, signedTimes };
}

function parseSigningChain(pem: Uint8Array): readonly Certificate[] {
  return parsePemCertificates(pem, "TCB signing chain");
}

/** What was signed of a document, and by what signature. */
interface Document {
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}

/** A kind of document: `{"<key>":{…},"signature":"<r ‖ s, hex>"}`. */
interface Kind<T> {
  readonly name: string;
  readonly cut: (bytes: Uint8Array) => Document;
  readonly read: (document: Document) => T;
}

function kind<T>(key: string, name: string, schema: z.ZodMiniType<T>): Kind<T> {
  return { name, cut: (bytes) => cut(bytes, key, name), read: memoize(({ body }) => parseBody(body, name, schema)) };
}

const TCB_INFO: Kind<TcbInfo> = kind("tcbInfo", "TCB info", tcbInfoSchema);
const QE_IDENTITY: Kind<QeIdentity> = kind("enclaveIdentity", "QE identity", qeIdentitySchema);

const isDocumentSignedBy = onceTrue(({ body, signature }: Document, signer: Certificate) =>
  hasSigned(p256KeyOf(signer), body, signature),
);

function verifyDocument<T extends { readonly issueDate: Date; readonly nextUpdate: Date }>(
  document: Document,
  { name, read }: Kind<T>,
  signers: readonly Certificate[],
  at: Date,
): T {
  if (!signers.some((signer) => isDocumentSignedBy(document, signer, name))) {
    throw new EvidenceError("collateral_signature", `the ${name} is not signed by Intel's key for it`, {
      where: `${name}, signature`,
      got: "another signature",
      want: `one by ${signers.map(({ commonName }) => commonName).join(" or ")}`,
      hint: "it was changed, or written anew: the signature covers every byte",
    });
  }
  const value = read(document);
  // An old document, replayed, would hide the weaknesses found since.
  if (value.issueDate <= at && at <= value.nextUpdate) return value;
  throw new EvidenceError("collateral_expired", `the ${name} is not valid at this time`, {
    where: name,
    got: at.toISOString(),
    want: `${value.issueDate.toISOString()} to ${value.nextUpdate.toISOString()}`,
    hint: "check the clock, then fetch it anew",
  });
}

const SIGNATURE = /^,"signature":"([0-9a-f]{128})"\}$/;
const SIGNATURE_LENGTH = ',"signature":""}'.length + 128;

/**
 * The signature covers the bytes of the inner object as they stand. They are what is between a beginning and an end of
 * known form, so there is one way to cut them out, and only what is signed is ever parsed as JSON.
 */
function cut(document: Uint8Array, key: string, name: string): Document {
  const prefix = `{"${key}":`;
  const end = Math.max(document.length - SIGNATURE_LENGTH, 0);
  const [, signature] = SIGNATURE.exec(toLatin1(document.subarray(end))) ?? [];
  if (signature === undefined || toLatin1(document.subarray(0, prefix.length)) !== prefix) {
    throw new EvidenceError("malformed_collateral", `the ${name} is not in the form that Intel signs`, {
      where: name,
      got: `${document.length} bytes of another form`,
      want: `${prefix}{…},"signature":"<128 digits of lower-case hex>"} without white space`,
      hint: "hand on the response of Intel's service byte for byte",
    });
  }
  return { body: new Uint8Array(document.subarray(prefix.length, end)), signature: hexBytes(signature) };
}

function parseBody<T>(body: Uint8Array, name: string, schema: z.ZodMiniType<T>): T {
  const result = schema.safeParse(parseJson(body));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new EvidenceError("malformed_collateral", `the ${name} is not what Intel's API specifies`, {
    where: [name, ...(issue?.path ?? [])].join("."),
    got: "another value",
    want: issue?.message,
  });
}

/** @returns undefined where it is no JSON, which no schema allows */
function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(toUtf8(body));
  } catch {
    return undefined;
  }
}
