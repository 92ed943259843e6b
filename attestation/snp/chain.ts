import { parseRevocationList } from "../crl.ts";
import type { Parse } from "../parse.ts";
import { checkCa, checkCritical, checkValidity, findPinned, isIssuedBy, named, notIssued } from "../path.ts";
import { checkNotRevoked } from "../revocation.ts";
import type { SignedTime } from "../signed-time.ts";
import type { Certificate } from "../x509.ts";
import type { Endorsement, EndorsementKind } from "./certificate.ts";
import { isSignedBy } from "./pss.ts";
import type { SnpProduct } from "./product.ts";
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
  readonly simulated: boolean;
}

export interface ChainOptions {
  readonly trustAnchors: TrustAnchors;
  /** The time to verify for. */
  readonly at: Date;
  /** The root's revocation list, DER. Without one, revocation is not checked. */
  readonly crl?: Uint8Array | undefined;
}

export interface SnpChain {
  readonly root: Root;
  /** From the leaf to the root. */
  readonly path: readonly Certificate[];
  readonly signedTimes: readonly SignedTime[];
}

const ISSUERS: Readonly<Record<EndorsementKind, string>> = { vcek: "SEV", vlek: "SEV-VLEK" };
const HINT = "add the product's cert_chain of AMD's key distribution service";

/** The common names of who issues such certificates, up to the root. */
export function issuerNames(kind: EndorsementKind, product: SnpProduct): readonly string[] {
  return [`${ISSUERS[kind]}-${product}`, `ARK-${product}`];
}

/** Whether they are among the certificates, by their names. */
export function hasIssuers(
  certificates: readonly Certificate[],
  { kind, product }: Pick<Endorsement, "kind" | "product">,
): boolean {
  return issuerNames(kind, product).every((name) => certificates.some(({ commonName }) => commonName === name));
}

/**
 * @param parse how the revocation list is parsed
 * @param certificates where the issuers are found, in any order
 * @throws EvidenceError
 */
export function verifyChain(
  parse: Parse,
  endorsement: Endorsement,
  certificates: readonly Certificate[],
  { trustAnchors, at, crl }: ChainOptions,
): SnpChain {
  const { certificate: leaf, kind, product } = endorsement;

  // A vendor's root vouches for its own product only.
  const anchors = [...trustAnchors].filter(([, anchor]) => anchor.simulated || anchor.product === product);
  const arks = named(certificates, [`ARK-${product}`], HINT);
  const { certificate: ark, spkiDigest } = findPinned(arks, new Set(anchors.map(([digest]) => digest)));
  if (!isIssuedBy(ark, ark, isSignedBy)) throw notIssued(ark, ark);

  // There may be several generations of an ASK under one name.
  const generations = named(certificates, [`${ISSUERS[kind]}-${product}`], HINT);
  const asks = generations.filter((candidate) => isIssuedBy(candidate, ark, isSignedBy));
  if (asks.length === 0) throw notIssued(generations[0], ark);
  const ask = asks.find((candidate) => isIssuedBy(leaf, candidate, isSignedBy));
  if (ask === undefined) throw notIssued(leaf, asks[0]);

  for (const ca of [ark, ask]) checkCa(ca);
  checkCritical(leaf, []);
  for (const certificate of [ark, ask, leaf]) checkValidity(certificate, at);
  // The ARK's list names ASKs and ASVKs; AMD supersedes VCEKs by their TCB, and their serial numbers are the ASK's.
  const list = crl === undefined ? undefined : parse(parseRevocationList, crl);
  const signedTimes = list === undefined ? [] : [checkNotRevoked(list, [ask], ark, isSignedBy, at)];
  const root = { spkiDigest, simulated: trustAnchors.get(spkiDigest)?.simulated === true };
  return { root, path: [leaf, ask, ark], signedTimes };
}
