import type { KeyObject } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { certificateMessageSize, LONGEST_CHAIN } from "../../manifest/certificate-size.ts";
import { generationExtensions, type MeshGeneration } from "../../manifest/generation-extensions.ts";
import { issueCa, issueLeaf, type SubjectName, type Validity } from "../../pki/certificate.ts";
import type { KeyPair } from "../../pki/keys.ts";

/**
 * The certificate authority of one generation of the mesh (docs/design.md §7). The root key comes from the seed and
 * stays; the mesh key is new, lives in memory only, and ends with the generation. The self-signed mesh CA and the
 * intermediate CA under the root share subject and key, so a chain can be followed to either.
 *
 * The mesh CA is pinned by those who trust it, so it lives long: it ends when they take another. The root is trusted for
 * every generation, so what it signs must end by itself: an intermediate CA is made anew for the chains of every minute,
 * and is valid as long as their leaves. Nothing outlives its generation by more than the manifest's CertificateLifetime,
 * neither a leaf that was issued nor what a stolen mesh key signs.
 */
export interface Authority {
  /** PEM. */
  readonly rootCa: string;
  readonly meshCa: string;
  /** Of both. */
  readonly validity: Validity;
  readonly rootKey: KeyPair;
  readonly meshKey: KeyPair;
  readonly generation: MeshGeneration;
  /** Of leaves and intermediate CAs. */
  readonly certificateLifetimeMs: number;
}

export type AuthorityRequest = Omit<Authority, "rootCa" | "meshCa" | "validity">;

export interface Leaf {
  readonly publicKey: KeyObject;
  readonly names: readonly SubjectName[];
  readonly extensions: ReadonlyMap<string, Uint8Array>;
}

const ROOT_NAME = "Contrast root CA";
const MESH_NAME = "Contrast mesh CA";

const DAY = 24 * 3600 * 1000;
const CA_LIFETIME = 10 * 365 * DAY;

const MINUTE = 60 * 1000;

/** Certificates are valid from a little before now: the clocks of two VMs are never quite the same. */
const CLOCK_SKEW = 5 * MINUTE;

/** Does not wait: between `now` and the moment this authority takes over, the one before can issue nothing. */
export function createAuthority(request: AuthorityRequest, now: Date): Authority {
  const { rootKey, meshKey } = request;
  const notBefore = new Date(now.getTime() - CLOCK_SKEW);
  const validity = { notBefore, notAfter: new Date(now.getTime() + CA_LIFETIME) };
  const root = { name: ROOT_NAME, key: rootKey };
  return {
    ...request,
    rootCa: issueCa({ ...validity, subject: ROOT_NAME, publicKey: rootKey.publicKey, issuer: root, pathLength: 1 }),
    meshCa: issueCa({ ...validity, ...meshSubject(request), issuer: { name: MESH_NAME, key: meshKey } }),
    validity,
  };
}

/**
 * The mesh CA of a generation that is over, for who still trusts it for a while: the same key and name, but it ends then.
 * Readers of `mesh-ca.pem` that look at the dates of what they trust stop by themselves, whoever fails to tell them.
 *
 * @returns PEM
 */
export function endMeshCa(authority: Authority, now: Date, until: Date): string {
  const { notBefore } = authority.validity;
  const validity = { notBefore: notBefore < now ? notBefore : now, notAfter: until };
  return issueCa({ ...validity, ...meshSubject(authority), issuer: { name: MESH_NAME, key: authority.meshKey } });
}

/**
 * A workload's certificate chain: the leaf, then the intermediate CA, PEM. Both are valid for the same time, the
 * certificate lifetime: with the tolerance for clocks and the beginning of the minute in it, and within the mesh CA's.
 *
 * @throws Refusal `clock_out_of_range` where nobody whose clock is as this one would accept the chain;
 *   `certificate_too_long` where no proxy would
 */
export function issueChain(authority: Authority, leaf: Leaf, now: Date): string {
  const validity = validityOf(authority, now);
  const named = leaf.names.find((name) => name.value !== "*");
  const certificate = issueLeaf({
    ...validity,
    // A common name has at most 64 characters (RFC 5280 appendix A); identity is in the alternative names alone.
    subject: (named?.value ?? "workload").slice(0, 64),
    publicKey: leaf.publicKey,
    issuer: { name: MESH_NAME, key: authority.meshKey },
    names: leaf.names,
    extensions: leaf.extensions,
  });
  const intermediate = intermediateCa(authority, validity);
  requireShort([certificate, intermediate]);
  return certificate + intermediate;
}

/** Of one minute: the root's signature costs more than all else of a chain, and pods come in crowds. */
function intermediateCa(authority: Authority, validity: Validity): string {
  const known = intermediates.get(authority);
  if (known?.begin === validity.notBefore.getTime()) return known.pem;
  const issuer = { name: ROOT_NAME, key: authority.rootKey };
  const pem = issueCa({ ...validity, ...meshSubject(authority), issuer });
  intermediates.set(authority, { begin: validity.notBefore.getTime(), pem });
  return pem;
}

const intermediates = new WeakMap<Authority, { readonly begin: number; readonly pem: string }>();

function meshSubject({ meshKey: { publicKey }, generation }: Pick<Authority, "meshKey" | "generation">) {
  return { subject: MESH_NAME, publicKey, pathLength: 0, extensions: generationExtensions(generation) };
}

function validityOf({ validity, certificateLifetimeMs }: Authority, now: Date): Validity {
  if (now < validity.notBefore || now > validity.notAfter) {
    throw new Refusal("clock_out_of_range", "the mesh CA is not valid at the time of the Coordinator's clock", {
      got: now.toISOString(),
      want: `${validity.notBefore.toISOString()} to ${validity.notAfter.toISOString()}`,
      hint: "correct the clock of the Coordinator's host, or make a new mesh CA by `contrast set`",
    });
  }
  const minute = Math.floor((now.getTime() - CLOCK_SKEW) / MINUTE) * MINUTE;
  const begin = Math.max(minute, validity.notBefore.getTime());
  const end = Math.min(begin + certificateLifetimeMs, validity.notAfter.getTime());
  return { notBefore: new Date(begin), notAfter: new Date(end) };
}

/** By the names alone it can't be: `set` refuses those. The claims can be longer than any so far, and so can the key. */
function requireShort(chain: readonly string[]): void {
  const size = certificateMessageSize(
    chain.map((pem) => Buffer.from(pem.replace(/-----[^-]*-----/g, ""), "base64").length),
  );
  if (size <= LONGEST_CHAIN) return;
  throw new Refusal("certificate_too_long", "the certificate chain would be longer than a peer accepts", {
    where: "the names, the claims and the key of the workload",
    got: `${size} bytes`,
    want: `at most ${LONGEST_CHAIN} bytes`,
    hint: "give the policy fewer or shorter SANs, or the workload a key of ECDSA",
  });
}
