import { constants, type KeyObject, sign } from "node:crypto";
import {
  encodeBitString,
  encodeDer,
  encodeInteger,
  encodeOid,
  encodeSequence,
  encodeTime,
} from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { spki } from "../../pki/keys.ts";
import { AMD_OID } from "../snp/certificate.ts";
import { PSS_SHA384 } from "../snp/pss.ts";
import type { Tcb } from "../snp/tcb.ts";
import { type Extension, type Extensions, OID } from "../x509.ts";

/**
 * Makes certificates in the form of AMD's (publication 57230): the same names, extensions and signature algorithm. The
 * organisation says that they are not.
 */

export interface CertificateRequest {
  /** Common names. */
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  readonly serial: number;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: Extensions;
}

/** Signs the bytes it is given; `algorithm` is the AlgorithmIdentifier that goes into the certificate. */
export interface Signer {
  readonly algorithm: Uint8Array;
  sign(tbs: Uint8Array): Uint8Array;
}

/** RSASSA-PSS as AMD uses it. */
export function amdSigner(key: KeyObject): Signer {
  const options = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 };
  return { algorithm: PSS_SHA384, sign: (tbs) => sign("sha384", tbs, options) };
}

/** @returns DER */
export function issueCertificate(request: CertificateRequest, signer: Signer): Uint8Array {
  return encodeSigned(signer, [
    encodeDer(TAG.context(0), encodeInteger(2)),
    encodeInteger(request.serial),
    signer.algorithm,
    encodeName(request.issuer),
    encodeSequence(encodeTime(request.notBefore), encodeTime(request.notAfter)),
    encodeName(request.subject),
    spki(request.publicKey),
    encodeDer(TAG.context(3), encodeSequence(...[...request.extensions].map(encodeExtension))),
  ]);
}

/** SIGNED of X.509. The body has to name the signer's algorithm, too. */
export function encodeSigned(signer: Signer, body: readonly Uint8Array[]): Uint8Array {
  const tbs = encodeSequence(...body);
  return encodeSequence(tbs, signer.algorithm, encodeBitString(signer.sign(tbs)));
}

const CA = Buffer.from([0xff]);

/** The extensions of a root: it may sign certificates and revocation lists. */
export const ARK_EXTENSIONS: Extensions = new Map([
  [OID.basicConstraints, critical(encodeSequence(encodeDer(TAG.boolean, CA)))],
  [OID.keyUsage, critical(encodeBitString(Buffer.from([0x06]), 1))],
]);

/** The extensions of an intermediate CA above leaves only. */
export const ASK_EXTENSIONS: Extensions = new Map([
  [OID.basicConstraints, critical(encodeSequence(encodeDer(TAG.boolean, CA), encodeInteger(0)))],
  [OID.keyUsage, critical(encodeBitString(Buffer.from([0x04]), 2))],
]);

/** The extensions of a VCEK of Milan or Genoa. */
export function vcekExtensions(productName: string, tcb: Tcb, hwid: Uint8Array): Extensions {
  const values: readonly (readonly [string, Uint8Array])[] = [
    [AMD_OID.structVersion, encodeInteger(0)],
    [AMD_OID.productName, encodeDer(TAG.ia5String, Buffer.from(productName))],
    [AMD_OID.bootloader, encodeInteger(tcb.bootloader)],
    [AMD_OID.tee, encodeInteger(tcb.tee)],
    ...AMD_OID.reserved.map((id) => [id, encodeInteger(0)] as const),
    [AMD_OID.snp, encodeInteger(tcb.snp)],
    [AMD_OID.microcode, encodeInteger(tcb.microcode)],
    [AMD_OID.hwid, hwid],
  ];
  return new Map(values.map(([id, value]) => [id, { critical: false, value }]));
}

function critical(value: Uint8Array): Extension {
  return { critical: true, value };
}

function encodeExtension([id, extension]: readonly [string, Extension]): Uint8Array {
  const flag = extension.critical ? [encodeDer(TAG.boolean, Buffer.from([0xff]))] : [];
  return encodeSequence(encodeOid(id), ...flag, encodeDer(TAG.octetString, extension.value));
}

export function encodeName(commonName: string): Uint8Array {
  const attributes = [
    ["2.5.4.10", "Software TEE, proves nothing"],
    [OID.commonName, commonName],
  ] as const;
  return encodeSequence(
    ...attributes.map(([type, value]) =>
      encodeDer(TAG.set, encodeSequence(encodeOid(type), encodeDer(TAG.utf8String, Buffer.from(value)))),
    ),
  );
}
