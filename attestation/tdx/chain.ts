import { checkCa, checkCritical, checkValidity, findPinned, isIssuedBy, named, notIssued } from "../path.ts";
import { type Certificate, OID } from "../x509.ts";
import { isSignedBy } from "./ecdsa.ts";
import type { TdxTrustAnchors } from "./roots.ts";

/**
 * Verifies Intel's two chains from the pinned root down: PCK ← Platform or Processor CA ← root, and TCB signer ← root.
 * They have these shapes and no others, so there are no path lengths to compare.
 */

/** The two CAs that issue PCK certificates, by common name, as Intel's service calls them. */
export const PCK_CAS = { "Intel SGX PCK Platform CA": "platform", "Intel SGX PCK Processor CA": "processor" } as const;
export type PckCa = (typeof PCK_CAS)[keyof typeof PCK_CAS];

const NAMES = {
  root: ["Intel SGX Root CA"],
  ca: Object.keys(PCK_CAS),
  pck: ["Intel SGX PCK Certificate"],
  signer: ["Intel SGX TCB Signing"],
} as const;

const HINT = "take the chain from Intel's provisioning certification service";

export interface PckChain {
  readonly pck: Certificate;
  readonly ca: Certificate;
  readonly root: Certificate;
  /** Of the root: lower-case hex of the SHA-256 of its SubjectPublicKeyInfo. */
  readonly rootDigest: string;
}

export interface SignerChain {
  /** A signer's certificate is renewed, so there may be several. */
  readonly signers: readonly Certificate[];
  readonly root: Certificate;
}

/** Which of the two CAs issued the PCK's certificate. */
export function pckCaOf({ ca }: PckChain): PckCa {
  return PCK_CAS[ca.commonName as keyof typeof PCK_CAS];
}

/**
 * @param certificates in any order
 * @throws EvidenceError
 */
export function verifyPckChain(
  certificates: readonly Certificate[],
  trustAnchors: TdxTrustAnchors,
  at: Date,
): PckChain {
  const { root, rootDigest } = verifyRoot(certificates, trustAnchors, at);
  const [pck] = named(certificates, NAMES.pck, HINT);
  const candidates = named(certificates, NAMES.ca, HINT);
  const cas = candidates.filter((candidate) => isIssuedBy(candidate, root, isSignedBy));
  if (cas.length === 0) throw notIssued(candidates[0], root);
  const ca = cas.find((candidate) => isIssuedBy(pck, candidate, isSignedBy));
  if (ca === undefined) throw notIssued(pck, cas[0]);
  checkCa(ca);
  checkValidity(ca, at);
  checkLeaf(pck, at);
  return { pck, ca, root, rootDigest };
}

/**
 * @param certificates in any order
 * @throws EvidenceError
 */
export function verifySignerChain(
  certificates: readonly Certificate[],
  trustAnchors: TdxTrustAnchors,
  at: Date,
): SignerChain {
  const { root } = verifyRoot(certificates, trustAnchors, at);
  const signers = named(certificates, NAMES.signer, HINT);
  for (const signer of signers) {
    if (!isIssuedBy(signer, root, isSignedBy)) throw notIssued(signer, root);
    checkLeaf(signer, at);
  }
  return { signers, root };
}

function verifyRoot(
  certificates: readonly Certificate[],
  trustAnchors: TdxTrustAnchors,
  at: Date,
): { readonly root: Certificate; readonly rootDigest: string } {
  const { certificate: root, spkiDigest } = findPinned(named(certificates, NAMES.root, HINT), trustAnchors);
  if (!isIssuedBy(root, root, isSignedBy)) throw notIssued(root, root);
  checkCa(root);
  checkValidity(root, at);
  return { root, rootDigest: spkiDigest };
}

function checkLeaf(leaf: Certificate, at: Date): void {
  checkCritical(leaf, [OID.basicConstraints, OID.keyUsage]);
  checkValidity(leaf, at);
}
