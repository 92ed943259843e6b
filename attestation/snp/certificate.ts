import { MalformedBytes } from "../../bytes/cursor.ts";
import { toHex, toLatin1 } from "../../bytes/encode.ts";
import { looksLikeEcKey } from "../../crypto/shapes.ts";
import { type DerReader, readDer, TAG } from "../../pki/der.ts";
import { EvidenceError } from "../error.ts";
import { refusing } from "../malformed.ts";
import { memoize } from "../memoize.ts";
import { type Certificate, type ParsedExtension, publicKeyOf } from "../x509.ts";
import { productOfName, SNP_PRODUCTS, type SnpProduct } from "./product.ts";
import type { Tcb } from "./tcb.ts";

/**
 * What a VCEK or VLEK certificate certifies beside its key (AMD publication 57230): the
 * product, the TCB and, for a VCEK, the chip. Nothing is verified here.
 */
export interface Endorsement {
  readonly kind: EndorsementKind;
  readonly certificate: Certificate;
  /** ECDSA P-384: SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly product: SnpProduct;
  readonly tcb: Tcb;
  /** 64 bytes, on Turin 8; a VLEK belongs to no chip. */
  readonly hwid: Uint8Array | undefined;
  /** Of a VLEK: the cloud service provider on whose machines it is. */
  readonly cspId: string | undefined;
}

export type EndorsementKind = "vcek" | "vlek";

const COMMON_NAMES: Readonly<Record<string, EndorsementKind>> = { "SEV-VCEK": "vcek", "SEV-VLEK": "vlek" };

const AMD = "1.3.6.1.4.1.3704.1";
export const AMD_OID = {
  structVersion: `${AMD}.1`,
  productName: `${AMD}.2`,
  bootloader: `${AMD}.3.1`,
  tee: `${AMD}.3.2`,
  snp: `${AMD}.3.3`,
  reserved: [`${AMD}.3.4`, `${AMD}.3.5`, `${AMD}.3.6`, `${AMD}.3.7`],
  microcode: `${AMD}.3.8`,
  fmc: `${AMD}.3.9`,
  hwid: `${AMD}.4`,
  cspId: `${AMD}.5`,
} as const;

/** The kind of key that a certificate is for by its name, or undefined where it is not an endorsement key's. */
export function endorsementKind(certificate: Certificate): EndorsementKind | undefined {
  return COMMON_NAMES[certificate.commonName];
}

/** @throws EvidenceError malformed_certificate, certificate_algorithm */
export function parseEndorsement(kind: EndorsementKind, certificate: Certificate): Endorsement {
  return PARSERS[kind](certificate);
}

const PARSERS: Readonly<Record<EndorsementKind, (certificate: Certificate) => Endorsement>> = {
  vcek: memoize((certificate) => readEndorsement("vcek", certificate)),
  vlek: memoize((certificate) => readEndorsement("vlek", certificate)),
};

function readEndorsement(kind: EndorsementKind, certificate: Certificate): Endorsement {
  return refusing("malformed_certificate", () => {
    const structVersion = number(certificate, AMD_OID.structVersion);
    if (structVersion > 1) {
      const { valueOffset } = required(certificate, AMD_OID.structVersion);
      throw new MalformedBytes("structVersion", valueOffset, `${structVersion}`, "0 or 1");
    }
    const product = readProduct(certificate);
    return {
      kind,
      certificate,
      publicKey: p384Key(certificate),
      product,
      tcb: readTcb(certificate, product),
      hwid: readHwid(certificate, kind, product),
      cspId: readCspId(certificate, kind),
    };
  });
}

function readProduct(certificate: Certificate): SnpProduct {
  const productName = read(certificate, AMD_OID.productName, (der) => der.element(TAG.ia5String, "productName"));
  const text = toLatin1(productName.content);
  const product = productOfName(text);
  if (product === undefined) {
    throw new MalformedBytes("productName", productName.offset, JSON.stringify(text), SNP_PRODUCTS.join(" or "));
  }
  return product;
}

function readTcb(certificate: Certificate, product: SnpProduct): Tcb {
  for (const id of AMD_OID.reserved) {
    // A part that nobody compares must not say anything.
    const reserved = certificate.extensions.get(id);
    if (reserved !== undefined && number(certificate, id) !== 0) {
      throw new MalformedBytes(id, reserved.valueOffset, "a reserved TCB part that is not zero", "zero");
    }
  }
  if (product !== "Turin") refuse(certificate, AMD_OID.fmc);
  return {
    fmc: product === "Turin" ? number(certificate, AMD_OID.fmc) : 0,
    bootloader: number(certificate, AMD_OID.bootloader),
    tee: number(certificate, AMD_OID.tee),
    snp: number(certificate, AMD_OID.snp),
    microcode: number(certificate, AMD_OID.microcode),
  };
}

/** A VCEK names the chip, a VLEK the cloud service provider; neither both. */
function readHwid(certificate: Certificate, kind: EndorsementKind, product: SnpProduct): Uint8Array | undefined {
  if (kind === "vlek") {
    refuse(certificate, AMD_OID.hwid);
    return undefined;
  }
  // The value has no DER tag.
  const { value: hwid, valueOffset } = required(certificate, AMD_OID.hwid);
  const length = product === "Turin" ? 8 : 64;
  if (hwid.length !== length) throw new MalformedBytes("hwID", valueOffset, `${hwid.length} bytes`, `${length} bytes`);
  return hwid;
}

function readCspId(certificate: Certificate, kind: EndorsementKind): string | undefined {
  if (kind === "vcek") {
    refuse(certificate, AMD_OID.cspId);
    return undefined;
  }
  const { content, offset } = read(certificate, AMD_OID.cspId, (der) => der.element(TAG.ia5String, "cspID"));
  const cspId = toLatin1(content);
  if (isCspId(cspId)) return cspId;
  throw new MalformedBytes("cspID", offset, JSON.stringify(cspId), "1 to 255 printable characters of ASCII");
}

export function isCspId(text: string): boolean {
  return /^[\x20-\x7e]{1,255}$/.test(text);
}

function p384Key(certificate: Certificate): Uint8Array {
  const { spki } = certificate;
  // Looked at before the key is parsed: nobody vouches for it yet, and curves can be made that are slow to check.
  if (!looksLikeEcKey("P-384", spki)) {
    throw new EvidenceError("certificate_algorithm", "an endorsement key that AMD does not use", {
      where: `${certificate.commonName}, subjectPublicKeyInfo`,
      got: toHex(spki.subarray(0, 24)),
      want: "id-ecPublicKey, secp384r1, an uncompressed point",
    });
  }
  return publicKeyOf(certificate, { kind: "ecdsa", curve: "P-384" });
}

function number(certificate: Certificate, id: string): number {
  return read(certificate, id, (der) => der.byte(id));
}

function read<T>(certificate: Certificate, id: string, parse: (der: DerReader) => T): T {
  const { value, valueOffset } = required(certificate, id);
  return readDer(value, id, parse, valueOffset);
}

function required({ extensions, extensionsOffset }: Certificate, id: string): ParsedExtension {
  const extension = extensions.get(id);
  if (extension === undefined) throw new MalformedBytes(id, extensionsOffset, "no such extension", "one");
  return extension;
}

function refuse({ extensions }: Certificate, id: string): void {
  const extension = extensions.get(id);
  if (extension === undefined) return;
  throw new MalformedBytes(id, extension.offset, "an extension", "none in this certificate");
}
