import { generateKeyPairSync } from "node:crypto";
import { encodeBitString, encodeDer, encodeSequence } from "../../../pki/der-writer.ts";
import type { Workload } from "../../../pki/test-mesh.ts";
import { issue, keyOf, type Shape } from "./authority.ts";
import {
  altered,
  CRITICAL,
  dns,
  elements,
  EMPTY,
  extension,
  fieldsOf,
  integer,
  name,
  OID,
  shown,
  text,
} from "./fields.ts";
import type { Authorities, Make } from "./kinds.ts";

/** Chains that no Coordinator issues, and keys that none certifies. */

const permitted = (...subtrees: readonly Uint8Array[]): Uint8Array =>
  encodeSequence(encodeDer(0xa0, ...subtrees.map((one) => encodeSequence(one))));
const excluded = (...subtrees: readonly Uint8Array[]): Uint8Array =>
  encodeSequence(encodeDer(0xa1, ...subtrees.map((one) => encodeSequence(one))));

/** Below a CA of which these extensions are. */
const constrained =
  (leaf: Shape, ...extensions: readonly Uint8Array[]): Make =>
  async ({ meshCa, below }) => {
    const ca = altered(meshCa, below, (of) => of.extensions.push(...extensions));
    const own = await issue(ca, leaf);
    return shown(own, keyOf(own), ca);
  };

const constraints = (value: Uint8Array): Uint8Array => extension(OID.nameConstraints, value, CRITICAL);
const tenNet = text(0x87, "\u000a\0\0\0\u00ff\0\0\0");

export const CHAINS: Readonly<Record<string, Make>> = {
  "below a CA for its name": constrained({}, constraints(permitted(dns("web")))),
  "below a CA for another name": constrained({}, constraints(permitted(dns("db")))),
  "below a CA for all names but its own": constrained({}, constraints(excluded(dns("web")))),
  "below a CA for all names but others": constrained({}, constraints(excluded(dns("db")))),
  "below a CA for another name, which nobody has to know": constrained(
    {},
    extension(OID.nameConstraints, permitted(dns("db"))),
  ),
  "below a CA for other addresses": constrained(
    { names: [{ type: "ip", value: "203.0.113.7" }] },
    constraints(permitted(tenNet)),
  ),
  "below a CA for its address": constrained(
    { names: [{ type: "ip", value: "10.1.2.3" }] },
    constraints(permitted(tenNet)),
  ),
  "below a CA for addresses that are none": constrained(
    { names: [{ type: "ip", value: "10.1.2.3" }] },
    constraints(permitted(text(0x87, "123"))),
  ),
  "below a CA for subjects of another kind": constrained(
    {},
    constraints(permitted(encodeDer(0xa4, name(0x0c, "folder")))),
  ),
  "below a CA with an extension that nobody knows and everybody has to": constrained(
    {},
    extension(OID.unknown, integer(1), CRITICAL),
  ),
  "below a CA that requires a policy": constrained(
    {},
    extension(OID.policyConstraints, encodeSequence(text(0x80, "\0")), CRITICAL),
  ),
  "below a CA of version 1": async ({ meshCa, below }) => {
    const ca = altered(meshCa, below, (of) => Object.assign(of, { version: EMPTY, extensions: [] }));
    const own = await issue(ca);
    return shown(own, keyOf(own), ca);
  },
  "below a CA of the mesh CA and of another mesh, the right one first": async (of) => crossSigned(of, false),
  "below a CA of the mesh CA and of another mesh, the wrong one first": async (of) => crossSigned(of, true),
  "below a CA whose name a stranger has, too": async ({ below, impostor }) => {
    const own = await issue(below);
    const stranger = altered(impostor, impostor, (of) => (of.subject = fieldsOf(below.certificate).subject));
    return shown(own, keyOf(own), below, stranger);
  },
  "below two CAs that signed each other": async ({ below, impostor }) => {
    const first = altered(impostor, impostor, (of) => (of.issuer = fieldsOf(below.certificate).subject));
    const second = altered(impostor, below, (of) => (of.issuer = fieldsOf(impostor.certificate).subject));
    const own = await issue(impostor);
    return shown(own, keyOf(own), first, second, first);
  },
  "that is the mesh CA": async ({ meshCa }) => shown(meshCa, keyOf(meshCa)),
  "that is the intermediate CA": async ({ intermediate, meshCa }) => shown(intermediate, keyOf(meshCa)),
  "with a key of secp256k1": async (of) => withKey(of, "secp256k1"),
  "with a key of brainpoolP256r1": async (of) => withKey(of, "brainpoolP256r1"),
  "with a key of P-224": async (of) => withKey(of, "secp224r1"),
  "with the point of its key in the short form": async ({ meshCa, intermediate }) => {
    const one = await issue(meshCa);
    const own = altered(meshCa, one, (of) => (of.spki = compressed(of.spki)));
    return shown(own, keyOf(one), intermediate);
  },
};

async function crossSigned({ below, impostor }: Authorities, isWrongFirst: boolean): Promise<Workload> {
  const other = altered(impostor, below, (of) => of.extensions.push(extension(OID.unknown, integer(1))));
  const own = await issue(below);
  const pair = isWrongFirst ? [other, below] : [below, other];
  return shown(own, keyOf(own), ...pair);
}

async function withKey({ meshCa, intermediate }: Authorities, namedCurve: string): Promise<Workload> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve });
  const spki = publicKey.export({ format: "der", type: "spki" });
  const own = altered(meshCa, await issue(meshCa), (of) => (of.spki = spki));
  return shown(own, privateKey.export({ format: "pem", type: "pkcs8" }), intermediate);
}

/** SEC 1 §2.3.3. */
function compressed(spki: Uint8Array): Uint8Array {
  const point = spki.subarray(-64);
  const sign = 2 + ((point.at(-1) ?? 0) & 1);
  const [kind = EMPTY] = elements(spki);
  return encodeSequence(kind, encodeBitString(Buffer.from([sign, ...point.subarray(0, 32)])));
}
