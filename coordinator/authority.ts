import type { KeyObject } from "node:crypto";
import { Refusal } from "../api/refusal.ts";
import { issueCa, issueLeaf, type SubjectName, type Validity } from "../pki/certificate.ts";
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
  /** Of all three. */
  readonly validity: Validity;
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
    rootCa: issueCa({ ...validity, subject: ROOT_NAME, publicKey: rootKey.publicKey, issuer: root, pathLength: 1 }),
    meshCa: issueCa({ ...mesh, issuer: { name: MESH_NAME, key: meshKey } }),
    intermediateCa: issueCa({ ...mesh, issuer: root }),
    meshKey,
    validity,
  };
}

/**
 * A workload's certificate chain: the leaf, then the intermediate CA, PEM. The leaf is valid for no time at which its CA
 * is not.
 *
 * @throws Refusal `clock_out_of_range` where nobody whose clock is as this one would accept the chain
 */
export function issueChain(authority: Authority, leaf: Leaf, now: Date): string {
  const { notBefore, notAfter } = authority.validity;
  if (now < notBefore || now > notAfter) {
    throw new Refusal("clock_out_of_range", "the mesh CA is not valid at the time of the Coordinator's clock", {
      got: now.toISOString(),
      want: `${notBefore.toISOString()} to ${notAfter.toISOString()}`,
      hint: "correct the clock of the Coordinator's host, or make a new mesh CA by `contrast set`",
    });
  }
  const wanted = lifetime(now, LEAF_LIFETIME);
  const named = leaf.names.find((name) => name.value !== "*");
  const certificate = issueLeaf({
    notBefore: wanted.notBefore < notBefore ? notBefore : wanted.notBefore,
    notAfter: wanted.notAfter > notAfter ? notAfter : wanted.notAfter,
    // A common name has at most 64 characters (RFC 5280 appendix A); identity is in the alternative names alone.
    subject: (named?.value ?? "workload").slice(0, 64),
    publicKey: leaf.publicKey,
    issuer: { name: MESH_NAME, key: authority.meshKey },
    names: leaf.names,
    extensions: leaf.extensions,
  });
  return certificate + authority.intermediateCa;
}

function lifetime(now: Date, length: number): Validity {
  return { notBefore: new Date(now.getTime() - CLOCK_SKEW), notAfter: new Date(now.getTime() + length) };
}
