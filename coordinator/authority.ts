import type { KeyObject } from "node:crypto";
import { issueCa, issueLeaf, type SubjectName } from "../pki/certificate.ts";
import { generateEcKey, type KeyPair } from "../pki/keys.ts";

/**
 * The certificate authority of one generation of the mesh (design §7). The root key comes from the seed and stays; the
 * mesh key is made here, lives in memory only, and ends with the generation. The self-signed mesh CA and the
 * intermediate CA under the root share subject and key, so a chain can be followed to either.
 */
export interface Authority {
  /** PEM. */
  readonly rootCa: string;
  readonly meshCa: string;
  readonly intermediateCa: string;
  readonly meshKey: KeyPair;
}

export interface Leaf {
  readonly publicKey: KeyObject;
  readonly names: readonly SubjectName[];
  readonly extensions: ReadonlyMap<string, Buffer>;
}

const ROOT_NAME = "Contrast root CA";
const MESH_NAME = "Contrast mesh CA";

const DAY = 24 * 3600 * 1000;
const CA_LIFETIME = 10 * 365 * DAY;
const LEAF_LIFETIME = 365 * DAY;

/** Certificates are valid from a little before now: the clocks of two VMs are never quite the same. */
const CLOCK_SKEW = 5 * 60 * 1000;

export async function createAuthority(rootKey: KeyPair, now: Date): Promise<Authority> {
  const meshKey = await generateEcKey("P-256");
  const validity = lifetime(now, CA_LIFETIME);
  const root = { name: ROOT_NAME, key: rootKey };
  const mesh = { ...validity, subject: MESH_NAME, publicKey: meshKey.publicKey, pathLength: 0 };
  return {
    rootCa: await issueCa({
      ...validity,
      subject: ROOT_NAME,
      publicKey: rootKey.publicKey,
      issuer: root,
      pathLength: 1,
    }),
    meshCa: await issueCa({ ...mesh, issuer: { name: MESH_NAME, key: meshKey } }),
    intermediateCa: await issueCa({ ...mesh, issuer: root }),
    meshKey,
  };
}

/** A workload's certificate chain: the leaf, then the intermediate CA, PEM. */
export async function issueChain(authority: Authority, leaf: Leaf, now: Date): Promise<string> {
  const named = leaf.names.find((name) => name.value !== "*");
  const certificate = await issueLeaf({
    ...lifetime(now, LEAF_LIFETIME),
    // A common name has at most 64 characters (RFC 5280 appendix A); identity is in the alternative names alone.
    subject: (named?.value ?? "workload").slice(0, 64),
    publicKey: leaf.publicKey,
    issuer: { name: MESH_NAME, key: authority.meshKey },
    names: leaf.names,
    extensions: leaf.extensions,
  });
  return certificate + authority.intermediateCa;
}

function lifetime(now: Date, length: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now.getTime() - CLOCK_SKEW), notAfter: new Date(now.getTime() + length) };
}
