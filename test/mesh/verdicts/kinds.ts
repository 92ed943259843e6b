import "reflect-metadata";
import { ExtendedKeyUsage, Extension, KeyUsageFlags } from "@peculiar/x509";
import type { Mesh, Workload } from "../../../pki/test-mesh.ts";
import { authority, damaged, type Holder, issue, type Issued, keyOf, pem, type Shape } from "./authority.ts";

/** What a peer may show, right and wrong. */

export interface Authorities {
  readonly meshCa: Issued;
  /** Of the same key and name, signed by a root that nobody is given. */
  readonly intermediate: Issued;
  /** Of the same name and another key. */
  readonly impostor: Issued;
  /** A CA below the mesh CA, which the Coordinator never issues. */
  readonly below: Issued;
  /** A workload. */
  readonly workload: Issued;
}

export async function createAuthorities(): Promise<Authorities> {
  const root = await authority(undefined, { subject: "CN=Contrast root CA" });
  const meshCa = await authority(undefined);
  const caUsages = { isCa: true, usages: null, names: null, keyUsage: KeyUsageFlags.keyCertSign } as const;
  const intermediate = await issue(root, { subject: meshCa.name, ...caUsages }, meshCa.keys);
  const impostor = await authority(undefined);
  const below = await authority(meshCa, { subject: "CN=below" });
  return { meshCa, intermediate, impostor, below, workload: await issue(meshCa) };
}

/** Enough of a mesh for a proxy. */
export function meshOf({ meshCa, intermediate, workload }: Authorities): { mesh: Pick<Mesh, "meshCa">; own: Workload } {
  const own = { certChain: pem(workload.certificate, intermediate.certificate), key: keyOf(workload) };
  return { mesh: { meshCa: pem(meshCa.certificate) }, own };
}

export type Make = (authorities: Authorities) => Promise<Workload>;

const HOUR = 3_600_000;
const { digitalSignature, keyCertSign, keyAgreement, keyEncipherment } = KeyUsageFlags;
const { clientAuth, serverAuth } = ExtendedKeyUsage;
const UNKNOWN = "1.3.6.1.4.1.99999.1";
const ANY_USAGE = "2.5.29.37.0";

const workload = (leaf: Issued, ...chain: readonly Issued[]): Workload => ({
  certChain: pem(leaf.certificate, ...chain.map(({ certificate }) => certificate)),
  key: keyOf(leaf),
});

/** By the mesh CA, with its intermediate CA. */
const usual =
  (shape: Shape): Make =>
  async ({ meshCa, intermediate }) =>
    workload(await issue(meshCa, shape), intermediate);

const by =
  (of: (authorities: Authorities) => Holder, shape: Shape = {}): Make =>
  async (authorities) =>
    workload(await issue(of(authorities), shape), authorities.intermediate);

const below =
  (shape: Shape, leaf: Shape = {}): Make =>
  async ({ meshCa }) => {
    const ca = await authority(meshCa, { subject: "CN=below", ...shape });
    return workload(await issue(ca, leaf), ca);
  };

const extra = (critical: boolean): Extension => new Extension(UNKNOWN, critical, new Uint8Array([5, 0]));

export const KINDS: Readonly<Record<string, Make>> = {
  "as the Coordinator issues it": usual({}),
  "without the intermediate CA": async ({ meshCa }) => workload(await issue(meshCa)),
  "with the mesh CA in place of the intermediate CA": async ({ meshCa }) => workload(await issue(meshCa), meshCa),
  "with the intermediate CA twice": async ({ meshCa, intermediate }) =>
    workload(await issue(meshCa), intermediate, intermediate),
  "with four strange certificates behind": async ({ meshCa, intermediate, impostor, below, workload: other }) =>
    workload(await issue(meshCa), intermediate, impostor, below, other, impostor),
  "with eight strange certificates behind": async ({ meshCa, impostor, below }) =>
    workload(await issue(meshCa), impostor, below, impostor, below, impostor, below, impostor, below),
  "with a strange certificate before the intermediate CA": async ({ meshCa, intermediate, impostor }) =>
    workload(await issue(meshCa), impostor, intermediate),
  "of another mesh": by(({ impostor }) => impostor),
  "of another mesh, with its CA": async ({ impostor }) => workload(await issue(impostor), impostor),
  "of another mesh, with both CAs": async ({ impostor, intermediate }) =>
    workload(await issue(impostor), impostor, intermediate),
  "of a CA of another name": async () => {
    const other = await authority(undefined, { subject: "CN=somebody" });
    return workload(await issue(other), other);
  },
  "of a CA without a name": async () => {
    const other = await authority(undefined, { subject: "" });
    return workload(await issue(other), other);
  },
  "signed by itself": async () => workload(await selfSigned("CN=workload")),
  "signed by itself, in the mesh CA's name": async () => workload(await selfSigned("CN=Contrast mesh CA")),
  "signed by a workload": by(({ workload }) => workload),
  "signed by a workload, with its certificate": async ({ workload: guest, intermediate }) =>
    workload(await issue(guest), guest, intermediate),
  "signed by a workload that says it is a CA without the right to sign": async ({ meshCa, intermediate }) => {
    const guest = await issue(meshCa, { isCa: true, subject: "CN=guest" });
    return workload(await issue(guest), guest, intermediate);
  },
  "with a damaged signature": async ({ meshCa, intermediate }) => {
    const leaf = await issue(meshCa);
    return workload({ ...leaf, certificate: damaged(leaf.certificate) }, intermediate);
  },
  "below a CA of the mesh CA": below({}),
  "below a CA of the mesh CA that has expired": below({ untilMs: -HOUR }),
  "below a CA of the mesh CA that is not valid yet": below({ fromMs: HOUR, untilMs: 2 * HOUR }),
  "below a CA with no right to sign": below({ keyUsage: digitalSignature }),
  "below a CA without a key usage": below({ keyUsage: null }),
  "below one that says it is no CA": below({ isCa: false }),
  "below one that does not say it is a CA": below({ isCa: null }),
  "below a CA with room for no other": below({ pathLength: 0 }),
  "below a CA for clients": below({ usages: [clientAuth] }),
  "below a CA for servers": below({ usages: [serverAuth] }),
  "below a CA of P-384": below({ key: "P-384" }),
  "below a CA of P-521": below({ key: "P-521" }),
  "below a CA of RSA": below({ key: "RSA-2048" }),
  "below two CAs of which the first has room for no other": async ({ meshCa }) => {
    const first = await authority(meshCa, { subject: "CN=first", pathLength: 0 });
    const second = await authority(first, { subject: "CN=second" });
    return workload(await issue(second), second, first);
  },
  "below five CAs": async ({ meshCa }) => {
    let issuer = meshCa;
    const chain: Issued[] = [];
    for (let depth = 0; depth < 5; depth++) {
      issuer = await authority(issuer, { subject: `CN=${depth}` });
      chain.unshift(issuer);
    }
    return workload(await issue(issuer), ...chain);
  },
  "of a day ago": usual({ fromMs: -48 * HOUR, untilMs: -24 * HOUR }),
  "of a second ago": usual({ untilMs: -2_000 }),
  "of tomorrow": usual({ fromMs: 24 * HOUR, untilMs: 48 * HOUR }),
  "that ends before it begins": usual({ fromMs: HOUR, untilMs: -HOUR }),
  "until the year 2060": usual({ untilMs: 35 * 365 * 24 * HOUR }),
  "for clients": usual({ usages: [clientAuth] }),
  "for servers": usual({ usages: [serverAuth] }),
  "for mail": usual({ usages: [ExtendedKeyUsage.emailProtection] }),
  "for any purpose": usual({ usages: [ANY_USAGE] }),
  "for no purpose that it names": usual({ usages: null }),
  "for a purpose that nobody knows": usual({ usages: [UNKNOWN] }),
  "without a key usage": usual({ keyUsage: null }),
  "for certificates and not for signatures": usual({ keyUsage: keyCertSign }),
  "for key agreement": usual({ keyUsage: keyAgreement }),
  "for key encipherment": usual({ keyUsage: keyEncipherment }),
  "that says it is a CA": usual({ isCa: true }),
  "that does not say it is no CA": usual({ isCa: null }),
  "without names": usual({ names: null }),
  "with no names among its names": usual({ names: [] }),
  "with many names": usual({ names: Array.from({ length: 60 }, (_, at) => ({ type: "dns", value: `n${at}.test` })) }),
  "with a name of every kind": usual({
    names: [
      { type: "dns", value: "*" },
      { type: "ip", value: "203.0.113.7" },
      { type: "ip", value: "2001:db8::7" },
      { type: "url", value: "spiffe://mesh/web" },
      { type: "email", value: "web@mesh.test" },
    ],
  }),
  "with an extension that nobody knows": usual({ others: [extra(false)] }),
  "with a critical extension that nobody knows": usual({ others: [extra(true)] }),
  "without a subject": usual({ subject: "" }),
  "with a subject of many parts": usual({ subject: "C=DE, O=Mesh, OU=Test, CN=workload, CN=other" }),
  "with a key of P-384": usual({ key: "P-384" }),
  "with a key of P-521": usual({ key: "P-521" }),
  "with a key of RSA": usual({ key: "RSA-2048" }),
  "with a key of Ed25519": usual({ key: "Ed25519" }),
  "signed with SHA-1": usual({ hash: "SHA-1" }),
  "signed with SHA-384": usual({ hash: "SHA-384" }),
  "signed with SHA-512": usual({ hash: "SHA-512" }),
};

async function selfSigned(name: string): Promise<Issued> {
  const own = await authority(undefined, { subject: name });
  return issue(own, { subject: name }, own.keys);
}
