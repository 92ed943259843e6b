import { X509Certificate } from "@peculiar/x509";
import { KeyObject, sign } from "node:crypto";
import { isEqual } from "../../../bytes/encode.ts";
import { bigEndian } from "../../../bytes/numbers.ts";
import { encodeBitString, encodeDer, encodeOid, encodeSequence } from "../../../pki/der-writer.ts";
import { TAG } from "../../../pki/der.ts";
import type { Workload } from "../../../pki/test-mesh.ts";
import { type Holder, type Issued, pem } from "./authority.ts";

/** Takes certificates apart, and has the issuer sign what is put together of other parts. */

/** DER, of RFC 5280 §4.1. */
export interface Fields {
  version: Uint8Array;
  serial: Uint8Array;
  algorithm: Uint8Array;
  issuer: Uint8Array;
  validity: Uint8Array;
  subject: Uint8Array;
  spki: Uint8Array;
  /** And whatever else stands between the key and the extensions. */
  ids: Uint8Array;
  extensions: Uint8Array[];
  /** Of the certificate, beside the signed one. */
  outerAlgorithm: Uint8Array;
}

const INTEGER = 0x02;
export const BOOLEAN = 0x01;
const OCTETS = 0x04;
export const EMPTY = Buffer.alloc(0);

export const OID = {
  basicConstraints: "2.5.29.19",
  keyUsage: "2.5.29.15",
  usages: "2.5.29.37",
  names: "2.5.29.17",
  nameConstraints: "2.5.29.30",
  authorityKey: "2.5.29.35",
  crlPoints: "2.5.29.31",
  policies: "2.5.29.32",
  policyConstraints: "2.5.29.36",
  inhibitAnyPolicy: "2.5.29.54",
  tlsFeature: "1.3.6.1.5.5.7.1.24",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  unknown: "1.3.6.1.4.1.99999.1",
  ecdsaSha256: "1.2.840.10045.4.3.2",
  ecdsaSha384: "1.2.840.10045.4.3.3",
} as const;

/** The elements of a constructed one. */
export function elements(der: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  const { content } = split(der);
  for (let rest = content; rest.length > 0;) {
    const { length } = split(rest);
    found.push(rest.subarray(0, length));
    rest = rest.subarray(length);
  }
  return found;
}

export function split(der: Uint8Array): { content: Uint8Array; length: number } {
  const first = der[1] ?? 0;
  const count = first < 0x80 ? 0 : first - 0x80;
  const size = count === 0 ? first : bigEndian(der, 2, count);
  return { content: der.subarray(2 + count, 2 + count + size), length: 2 + count + size };
}

export function fieldsOf(certificate: X509Certificate): Fields {
  const [tbs = EMPTY, outerAlgorithm = EMPTY] = elements(Buffer.from(certificate.rawData));
  const [version, serial, algorithm, issuer, validity, subject, spki, extensions] = elements(tbs);
  if (version === undefined || serial === undefined || algorithm === undefined) throw new Error("no certificate");
  if (issuer === undefined || validity === undefined || subject === undefined || spki === undefined) throw new Error();
  const list = extensions === undefined ? [] : elements(elements(extensions)[0] ?? EMPTY);
  const rest = { ids: EMPTY, outerAlgorithm };
  return { version, serial, algorithm, issuer, validity, subject, spki, extensions: list, ...rest };
}

function signed(by: Holder, fields: Fields): X509Certificate {
  const { version, serial, algorithm, issuer, validity, subject, spki, ids, extensions } = fields;
  const list = extensions.length === 0 ? EMPTY : encodeDer(0xa3, encodeSequence(...extensions));
  const tbs = encodeSequence(version, serial, algorithm, issuer, validity, subject, spki, ids, list);
  const signature = sign("sha256", tbs, KeyObject.from(by.keys.privateKey));
  return new X509Certificate(encodeSequence(tbs, fields.outerAlgorithm, encodeBitString(signature)));
}

export function altered(by: Holder, one: Issued, change: (fields: Fields) => void): Issued {
  const fields = fieldsOf(one.certificate);
  change(fields);
  return { ...one, certificate: signed(by, fields) };
}

export function extension(oid: string, value: Uint8Array, critical: Uint8Array = EMPTY): Uint8Array {
  return encodeSequence(encodeOid(oid), critical, encodeDer(OCTETS, value));
}

export const CRITICAL = encodeDer(BOOLEAN, Buffer.from([0xff]));

export const isOf = (oid: string) => (one: Uint8Array) => isEqual(elements(one)[0] ?? new Uint8Array(), encodeOid(oid));

export function replaced(fields: Fields, oid: string, ...by: readonly Uint8Array[]): void {
  fields.extensions = [...fields.extensions.filter((one) => !isOf(oid)(one)), ...by];
}

export const integer = (...bytes: readonly number[]): Uint8Array => encodeDer(INTEGER, Buffer.from(bytes));
export const text = (tag: number, value: string): Uint8Array => encodeDer(tag, Buffer.from(value, "latin1"));
export const names = (...list: readonly Uint8Array[]): Uint8Array => extension(OID.names, encodeSequence(...list));
export const dns = (value: string): Uint8Array => text(0x82, value);
export const name = (tag: number, value: string): Uint8Array =>
  encodeSequence(encodeDer(TAG.set, encodeSequence(encodeOid("2.5.4.3"), text(tag, value))));
export const shown = (leaf: Issued, key: string, ...chain: readonly Issued[]): Workload => ({
  certChain: pem(leaf.certificate, ...chain.map(({ certificate }) => certificate)),
  key,
});
