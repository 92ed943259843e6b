import { MalformedBytes } from "../../bytes/cursor.ts";
import { bigEndian } from "../../bytes/numbers.ts";
import { type DerReader, type Element, readDer, TAG } from "../../pki/der.ts";
import { refusing } from "../malformed.ts";
import { memoize } from "../memoize.ts";
import type { Certificate } from "../x509.ts";
import { p256KeyOf } from "./ecdsa.ts";

/**
 * What a provisioning certification key's certificate says about its platform, beside the key (Intel SGX PCK Certificate
 * and CRL Profile, §1.3.5). Nothing is verified here.
 */
export interface Pck {
  readonly certificate: Certificate;
  /** ECDSA P-256: SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  /** 16 bytes: the platform. */
  readonly ppid: Uint8Array;
  /** The 16 SVNs of the platform's TCB that levels are compared with. */
  readonly components: readonly number[];
  readonly pceSvn: number;
  /** 16 bytes: what the components were made from. */
  readonly cpuSvn: Uint8Array;
  /** 2 bytes. */
  readonly pceId: Uint8Array;
  /** 6 bytes: family, model, stepping, platform type and custom SKU. */
  readonly fmspc: Uint8Array;
  /** How memory is protected: `SGX_TYPES`, or a number that is none of them. */
  readonly sgxType: number;
  /** 16 bytes: this one machine, as it was registered with Intel. The Processor CA's certificates have none. */
  readonly piid: Uint8Array | undefined;
  /** The Processor CA's certificates have none. */
  readonly configuration: PckConfiguration | undefined;
}

/** How the machine was set up when it was registered. What the certificate does not say is undefined. */
export interface PckConfiguration {
  /** CPU packages may be added to it. */
  readonly dynamicPlatform: boolean | undefined;
  /** Intel keeps the machine's root keys. */
  readonly cachedKeys: boolean | undefined;
  readonly smtEnabled: boolean | undefined;
}

/** Values of `sgxType`: how memory is encrypted, and whether its integrity is kept by cryptography, too. */
export const SGX_TYPES = { Standard: 0, Scalable: 1, ScalableWithIntegrity: 2 } as const;

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
  sgxType: `${SGX}.5`,
  piid: `${SGX}.6`,
  configuration: `${SGX}.7`,
  dynamicPlatform: `${SGX}.7.1`,
  cachedKeys: `${SGX}.7.2`,
  smtEnabled: `${SGX}.7.3`,
} as const;

/** @throws EvidenceError malformed_certificate, certificate_algorithm */
export const parsePck = memoize((certificate: Certificate): Pck =>
  refusing("malformed_certificate", () => {
    const extension = certificate.extensions.get(SGX_OID.extensions);
    if (extension === undefined) {
      throw new MalformedBytes(SGX_OID.extensions, certificate.extensionsOffset, "no such extension", "one");
    }
    const sgx = { encoding: extension.value, offset: extension.valueOffset };
    const platform = readAttributes(sgx, SGX_OID.extensions);
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
      sgxType: read(platform, SGX_OID.sgxType, (der) => der.enumerated(SGX_OID.sgxType)),
      piid: platform.values.has(SGX_OID.piid) ? octets(platform, SGX_OID.piid, 16) : undefined,
      configuration: readConfiguration(platform.values.get(SGX_OID.configuration)),
    };
  }),
);

/** DER, and where it begins in the certificate. */
type Located = Pick<Element, "encoding" | "offset">;

interface Attributes {
  /** By object identifier. */
  readonly values: ReadonlyMap<string, Located>;
  /** Of the list. */
  readonly offset: number;
}

/** @param der undefined where the certificate has none */
function readConfiguration(der: Located | undefined): PckConfiguration | undefined {
  if (der === undefined) return undefined;
  const configuration = readAttributes(der, SGX_OID.configuration);
  const flag = (id: string): boolean | undefined =>
    configuration.values.has(id) ? read(configuration, id, (value) => value.boolean(id)) : undefined;
  return {
    dynamicPlatform: flag(SGX_OID.dynamicPlatform),
    cachedKeys: flag(SGX_OID.cachedKeys),
    smtEnabled: flag(SGX_OID.smtEnabled),
  };
}

/** SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }, each identifier once. Others than ours are allowed. */
function readAttributes({ encoding, offset }: Located, field: string): Attributes {
  const values = new Map<string, Located>();
  const readAttribute = (attribute: DerReader): void => {
    const start = attribute.offset;
    const id = attribute.oid(field);
    // Of two, one reader would take the first and another the last.
    if (values.has(id)) throw new MalformedBytes(field, start, `two values of ${id}`, "one");
    values.set(id, attribute.element(attribute.next ?? TAG.sequence, id));
  };
  const read = (der: DerReader) => der.many(TAG.sequence, field, (list) => list.sequence(field, readAttribute));
  readDer(encoding, field, read, offset);
  return { values, offset };
}

function octets(attributes: Attributes, id: string, length: number): Uint8Array {
  const { content: value, offset } = read(attributes, id, (der) => der.element(TAG.octetString, id));
  if (value.length !== length) throw new MalformedBytes(id, offset, `${value.length} bytes`, `${length} bytes`);
  return value;
}

function u16(der: DerReader, id: string): number {
  const { offset } = der;
  const content = der.integer(id);
  const value = bigEndian(content.subarray(0, 3));
  if (content.length > 3 || value > 0xffff) throw new MalformedBytes(id, offset, "a larger number", "0..65535");
  return value;
}

function read<T>(attributes: Attributes, id: string, parse: (der: DerReader) => T): T {
  const { encoding, offset } = required(attributes, id);
  return readDer(encoding, id, parse, offset);
}

function required({ values, offset }: Attributes, id: string): Located {
  const value = values.get(id);
  if (value === undefined) throw new MalformedBytes(id, offset, "nothing", "a value");
  return value;
}
