import type { KeyObject } from "node:crypto";
import { MalformedBytes } from "../../bytes/cursor.ts";
import { type DerReader, readDer, TAG } from "../../pki/der.ts";
import { oncePer } from "../once.ts";
import { type Certificate, refusing } from "../x509.ts";
import { p256KeyOf } from "./ecdsa.ts";

/**
 * What a provisioning certification key's certificate says about its platform, beside the key (Intel SGX PCK Certificate
 * and CRL Profile, §1.3.5). Nothing is verified here.
 */
export interface Pck {
  readonly certificate: Certificate;
  /** ECDSA P-256. */
  readonly publicKey: KeyObject;
  /** 16 bytes: the platform. */
  readonly ppid: Buffer;
  /** The 16 SVNs of the platform's TCB that levels are compared with. */
  readonly components: readonly number[];
  readonly pceSvn: number;
  /** 16 bytes: what the components were made from. */
  readonly cpuSvn: Buffer;
  /** 2 bytes. */
  readonly pceId: Buffer;
  /** 6 bytes: family, model, stepping, platform type and custom SKU. */
  readonly fmspc: Buffer;
}

const SGX = "1.2.840.113741.1.13.1";
export const SGX_OID = {
  extensions: SGX,
  ppid: `${SGX}.1`,
  tcb: `${SGX}.2`,
  components: Array.from({ length: 16 }, (_, index) => `${SGX}.2.${index + 1}`),
  pceSvn: `${SGX}.2.17`,
  cpuSvn: `${SGX}.2.18`,
  pceId: `${SGX}.3`,
  fmspc: `${SGX}.4`,
} as const;

/** @throws EvidenceError malformed_certificate, certificate_algorithm */
export const parsePck = oncePer((certificate: Certificate): Pck =>
  refusing("malformed_certificate", () => {
    const extension = certificate.extensions.get(SGX_OID.extensions);
    if (extension === undefined) throw new MalformedBytes(SGX_OID.extensions, 0, "no such extension", "one");
    const platform = readAttributes(extension.value, SGX_OID.extensions);
    const tcb = readAttributes(required(platform, SGX_OID.tcb), SGX_OID.tcb);
    return {
      certificate,
      publicKey: p256KeyOf(certificate),
      ppid: octets(platform, SGX_OID.ppid, 16),
      components: SGX_OID.components.map((id) => read(tcb, id, (der) => der.byte(id))),
      pceSvn: read(tcb, SGX_OID.pceSvn, (der) => u16(der, SGX_OID.pceSvn)),
      cpuSvn: octets(tcb, SGX_OID.cpuSvn, 16),
      pceId: octets(platform, SGX_OID.pceId, 2),
      fmspc: octets(platform, SGX_OID.fmspc, 6),
    };
  }),
);

/** Object identifier to value, DER. */
type Attributes = ReadonlyMap<string, Buffer>;

/** SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }, each identifier once. Others than ours are allowed: SGX type, PIID. */
function readAttributes(der: Buffer, field: string): Attributes {
  const attributes = new Map<string, Buffer>();
  readDer(der, field, (outer) =>
    outer.many(TAG.sequence, field, (list) =>
      list.sequence(field, (attribute) => {
        const id = attribute.oid(field);
        // Of two, one reader would take the first and another the last.
        if (attributes.has(id)) throw new MalformedBytes(field, 0, `two values of ${id}`, "one");
        attributes.set(id, attribute.element(attribute.next ?? TAG.sequence, id).encoding);
      }),
    ),
  );
  return attributes;
}

function octets(attributes: Attributes, id: string, length: number): Buffer {
  const value = read(attributes, id, (der) => der.octetString(id));
  if (value.length !== length) throw new MalformedBytes(id, 0, `${value.length} bytes`, `${length} bytes`);
  return value;
}

function u16(der: DerReader, id: string): number {
  const value = Number(`0x${der.integer(id).toString("hex")}`);
  if (value > 0xffff) throw new MalformedBytes(id, 0, "a larger number", "0..65535");
  return value;
}

function read<T>(attributes: Attributes, id: string, parse: (der: DerReader) => T): T {
  return readDer(required(attributes, id), id, parse);
}

function required(attributes: Attributes, id: string): Buffer {
  const value = attributes.get(id);
  if (value === undefined) throw new MalformedBytes(id, 0, "nothing", "a value");
  return value;
}
