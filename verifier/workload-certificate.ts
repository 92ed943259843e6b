import { EvidenceError } from "../attestation/error.ts";
import { checkCritical, checkValidity } from "../attestation/path.ts";
import { parsePemCertificates } from "../attestation/pem.ts";
import { type ListedClaim, listClaims, readClaims } from "../attestation/read-claims.ts";
import { type Certificate, isCa, OID } from "../attestation/x509.ts";
import { fromUtf8, isEqual, toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { grantOf } from "../manifest/grant-extensions.ts";
import { hasSigned } from "./certificate-authority.ts";
import { type CertificateName, namesOf } from "./certificate-names.ts";
import type { Verification } from "./deployment.ts";
import { VerifyError } from "./error.ts";

/**
 * Decides whether a workload's certificate is of a verified deployment: issued by the mesh CA in force, for a policy of the
 * manifest in force, and valid. What the Coordinator verified of the workload before stands in it as claims. Whoever shows a
 * certificate need not have its key: that is for TLS to find out.
 */
export interface WorkloadCertificate {
  readonly commonName: string;
  readonly names: readonly CertificateName[];
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly keyDigest: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SHA-256 of the policy document that the workload was launched with, hex. */
  readonly policy: string;
  readonly workloadSecretId: string | undefined;
  /** The workload's evidence came from a software TEE. */
  readonly insecure: boolean;
  readonly claims: readonly ListedClaim[];
}

/** What stands in a leaf and is critical (pki/certificate.ts). */
const UNDERSTOOD = [OID.basicConstraints, OID.keyUsage];

/**
 * @param chain PEM, the leaf first, as in certChain.pem; what follows it is not needed
 * @param at the time to verify for
 * @throws VerifyError foreign_certificate; EvidenceError malformed_certificate
 */
export function checkWorkloadCertificate(
  chain: Uint8Array,
  { meshCa, manifest }: Pick<Verification, "meshCa" | "manifest">,
  at: Date,
): WorkloadCertificate {
  const [leaf] = parsePemCertificates(chain, "certificate");
  const [issuer] = parsePemCertificates(fromUtf8(meshCa.pem), "mesh CA");
  if (leaf === undefined || issuer === undefined) throw foreign("certificate", "none", "a workload's, in PEM");
  requireIssued(leaf, issuer);
  requireLeaf(leaf, at);
  const { policy, workloadSecretId } = grantOf(leaf) ?? {};
  if (policy === undefined || !manifest.policies.has(policy)) {
    throw foreign("policy", policy ?? "none", "a policy of the manifest in force");
  }
  const read = readClaims(leaf);
  if (read === undefined) throw foreign("claims", "none", "what the Coordinator verified");
  const { commonName, spki, notBefore, notAfter } = leaf;
  return {
    commonName,
    names: namesOf(leaf),
    keyDigest: sha256Hex(spki),
    notBefore,
    notAfter,
    policy,
    workloadSecretId,
    // What does not say that it is hardware is none.
    insecure: read.claims.insecure !== false,
    claims: listClaims(read),
  };
}

function requireIssued(leaf: Certificate, issuer: Certificate): void {
  if (isEqual(leaf.issuer, issuer.subject) && hasSigned("mesh CA", issuer.spki, leaf)) return;
  throw foreign("signature", "of another issuer", `of the mesh CA in force, ${toHex(issuer.serial)}`, {
    hint: "it is of another deployment, or of before the last set or recovery: the workload has a newer one",
  });
}

function requireLeaf(leaf: Certificate, at: Date): void {
  if (isCa(leaf)) throw foreign("basicConstraints", "a CA", "a workload's certificate");
  try {
    checkCritical(leaf, UNDERSTOOD);
    checkValidity(leaf, at);
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause;
    const { message, where = "certificate", got = "", want = "", hint } = cause;
    throw new VerifyError("foreign_certificate", message, { where, got, want, hint, cause });
  }
}

function foreign(where: string, got: string, want: string, details: { readonly hint?: string } = {}): VerifyError {
  const message = "the certificate is not one of this deployment's workloads";
  return new VerifyError("foreign_certificate", message, { where, got, want, ...details });
}
