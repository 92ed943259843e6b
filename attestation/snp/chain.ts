import { createHash } from "node:crypto";
import { quote } from "../../runtime/environment.ts";
import { EvidenceError } from "../error.ts";
import { type Certificate, isCa, keyUsage, OID } from "../x509.ts";
import type { Endorsement, EndorsementKind } from "./certificate.ts";
import type { SnpProduct } from "./product.ts";
import { isSignedBy } from "./pss.ts";
import { checkNotRevoked } from "./revocation.ts";
import type { TrustAnchors } from "./roots.ts";

/**
 * Verifies the chain VCEK ← SEV-<product> ← ARK-<product>, or VLEK ← SEV-VLEK-<product> ← ARK-<product>, from the pinned
 * root down: no key is used before it is vouched for. A chain has this shape and no other, so there are no path lengths
 * to compare.
 */

/** The root that a chain ends in. */
export interface Root {
  /** Lower-case hex of the SHA-256 of its SubjectPublicKeyInfo. */
  readonly spkiDigest: string;
  /** A software TEE's: it proves nothing about hardware. */
  readonly insecure: boolean;
}

export interface ChainOptions {
  readonly trustAnchors: TrustAnchors;
  /** The time to verify for. */
  readonly at: Date;
  /** The root's revocation list, DER. Without one, revocation is not checked. */
  readonly crl?: Buffer | undefined;
}

const ISSUERS: Readonly<Record<EndorsementKind, string>> = { vcek: "SEV", vlek: "SEV-VLEK" };

/** keyCertSign in the first byte of KeyUsage (RFC 5280 §4.2.1.3). */
const KEY_CERT_SIGN = 0x04;

/**
 * @param certificates where the issuers are found, in any order
 * @throws EvidenceError
 */
export function verifyChain(
  endorsement: Endorsement,
  certificates: readonly Certificate[],
  { trustAnchors, at, crl }: ChainOptions,
): Root {
  const { certificate: leaf, kind, product } = endorsement;

  const { ark, root } = findPinned(named(certificates, `ARK-${product}`), product, trustAnchors);
  if (!isIssuedBy(ark, ark)) throw notIssued(ark, ark);

  // There may be several generations of an ASK under one name.
  const generations = named(certificates, `${ISSUERS[kind]}-${product}`);
  const asks = generations.filter((candidate) => isIssuedBy(candidate, ark));
  if (asks.length === 0) throw notIssued(generations[0], ark);
  const ask = asks.find((candidate) => isIssuedBy(leaf, candidate));
  if (ask === undefined) throw notIssued(leaf, asks[0]);

  for (const ca of [ark, ask]) checkCa(ca);
  checkCritical(leaf, []);
  for (const certificate of [ark, ask, leaf]) checkValidity(certificate, at);
  if (crl !== undefined) checkNotRevoked(crl, ask, ark, at);
  return root;
}

function named(certificates: readonly Certificate[], commonName: string): readonly [Certificate, ...Certificate[]] {
  const [first, ...others] = certificates.filter((certificate) => certificate.commonName === commonName);
  if (first === undefined) {
    throw new EvidenceError("certificate_missing", "the certificate chain is not complete", {
      where: "certificates",
      got: certificates.map(({ commonName }) => quote(commonName)).join(", ") || "none",
      want: commonName,
      hint: "add the product's cert_chain of AMD's key distribution service",
    });
  }
  return [first, ...others];
}

/** The digest of the key is all that makes a root: anybody can make a certificate of that name. */
function findPinned(
  arks: readonly [Certificate, ...Certificate[]],
  product: SnpProduct,
  trustAnchors: TrustAnchors,
): { readonly ark: Certificate; readonly root: Root } {
  for (const ark of arks) {
    const spkiDigest = digestOf(ark);
    const anchor = trustAnchors.get(spkiDigest);
    if (anchor !== undefined && (anchor.insecure || anchor.product === product)) {
      return { ark, root: { spkiDigest, insecure: anchor.insecure } };
    }
  }
  throw new EvidenceError("untrusted_root", "the certificate chain ends in a root that is not trusted", {
    where: `${arks[0].commonName}, subjectPublicKeyInfo`,
    got: digestOf(arks[0]),
    want: `one of ${[...trustAnchors.keys()].join(", ")}`,
  });
}

function digestOf(certificate: Certificate): string {
  return createHash("sha256").update(certificate.spki).digest("hex");
}

function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  return certificate.issuer.equals(issuer.subject) && isSignedBy(certificate, issuer, certificate.commonName);
}

function notIssued(certificate: Certificate | undefined, issuer: Certificate | undefined): EvidenceError {
  return new EvidenceError("chain_signature", "a certificate is not signed by its issuer", {
    where: certificate?.commonName,
    got: "another signature or issuer",
    want: `issued by ${issuer?.commonName ?? ""}`,
  });
}

function checkCa(certificate: Certificate): void {
  checkCritical(certificate, [OID.basicConstraints, OID.keyUsage]);
  if (!isCa(certificate) || (keyUsage(certificate) & KEY_CERT_SIGN) === 0) {
    throw new EvidenceError("malformed_certificate", "a certificate that may not issue others", {
      where: `${certificate.commonName}, basicConstraints and keyUsage`,
      got: "no CA",
      want: "cA TRUE and keyCertSign",
    });
  }
}

/** RFC 5280 §4.2: an extension that is critical and not understood makes the certificate unusable. */
function checkCritical(certificate: Certificate, understood: readonly string[]): void {
  for (const [id, { critical }] of certificate.extensions) {
    if (critical && !understood.includes(id)) {
      throw new EvidenceError("malformed_certificate", "a critical extension that is not understood", {
        where: certificate.commonName,
        got: id,
        want: understood.join(", ") || "none",
      });
    }
  }
}

function checkValidity(certificate: Certificate, at: Date): void {
  const { commonName, notBefore, notAfter } = certificate;
  // Written so that an invalid date is refused.
  if (notBefore <= at && at <= notAfter) return;
  throw new EvidenceError("certificate_expired", "a certificate is not valid at this time", {
    where: commonName,
    got: Number.isNaN(at.getTime()) ? "no time" : at.toISOString(),
    want: `${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    hint: "check the clock, then fetch the certificate anew",
  });
}
