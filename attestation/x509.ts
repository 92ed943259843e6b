import { createPublicKey, type KeyObject } from "node:crypto";
import { MalformedBytes } from "../bytes/cursor.ts";
import { type DerReader, readDer, TAG } from "../pki/der.ts";
import { EvidenceError } from "./error.ts";
import { oncePer } from "./once.ts";

/**
 * Parses X.509 v3 certificates (RFC 5280 §4) to the last byte. There is one parser, so that no two parts of the program
 * can read one certificate in two ways. Nothing is verified here.
 */

/** A structure with a signature: certificates and revocation lists. */
export interface Signed {
  /** The bytes that the signature covers. */
  readonly tbs: Buffer;
  /** AlgorithmIdentifier, DER. */
  readonly signatureAlgorithm: Buffer;
  readonly signature: Buffer;
}

export interface Extension {
  readonly critical: boolean;
  readonly value: Buffer;
}

/** Dotted object identifier to extension. */
export type Extensions = ReadonlyMap<string, Extension>;

export interface Certificate extends Signed {
  /** Equal serial numbers have equal bytes. */
  readonly serial: Buffer;
  /** Name, DER: an issuer is found by equal bytes. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** The subject's common name; empty where it has none. */
  readonly commonName: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  readonly extensions: Extensions;
}

export const OID = { commonName: "2.5.4.3", keyUsage: "2.5.29.15", basicConstraints: "2.5.29.19" } as const;

/** @throws EvidenceError malformed_certificate */
export function parseCertificate(der: Uint8Array): Certificate {
  return refusing("malformed_certificate", () =>
    readSigned(der, "Certificate", (tbs, algorithm) => {
      tbs.nested(TAG.context(0), "version", (version) => {
        const number = version.byte("version");
        if (number !== 2) throw new MalformedBytes("version", 0, `${number}`, "2 (v3)");
      });
      const serial = tbs.integer("serialNumber");
      algorithm(tbs);
      const { encoding: issuer } = tbs.element(TAG.sequence, "issuer");
      const [notBefore, notAfter] = tbs.sequence("validity", (validity) => [
        validity.time("notBefore"),
        validity.time("notAfter"),
      ]);
      const { encoding: subject } = tbs.element(TAG.sequence, "subject");
      const { encoding: spki } = tbs.element(TAG.sequence, "subjectPublicKeyInfo");
      const extensions = tbs.nested(TAG.context(3), "extensions", (wrapper) => readExtensions(wrapper, "extensions"));
      return { serial, issuer, subject, commonName: commonName(subject), notBefore, notAfter, spki, extensions };
    }),
  );
}

/** SIGNED of X.509: the body, the algorithm, the signature. The body must name the same algorithm as the envelope. */
export function readSigned<T>(
  der: Uint8Array,
  what: string,
  readBody: (tbs: DerReader, algorithm: (tbs: DerReader) => void) => T,
): T & Signed {
  return readDer(der, what, (outer) =>
    outer.sequence(what, (envelope) => {
      const { content, encoding: tbs } = envelope.element(TAG.sequence, `tbs${what}`);
      const { encoding: signatureAlgorithm } = envelope.element(TAG.sequence, "signatureAlgorithm");
      const body = readDer(content, `tbs${what}`, (reader) =>
        readBody(reader, (at) => {
          const { encoding } = at.element(TAG.sequence, "signature");
          // Only the inner one is signed: an attacker could name a weaker algorithm in the outer one.
          if (!encoding.equals(signatureAlgorithm)) {
            throw new MalformedBytes("signature", 0, encoding.toString("hex"), signatureAlgorithm.toString("hex"));
          }
        }),
      );
      return { ...body, tbs, signatureAlgorithm, signature: envelope.bitString("signatureValue", true) };
    }),
  );
}

/** Extensions ::= SEQUENCE OF { extnID, critical DEFAULT FALSE, extnValue }, each identifier once. */
export function readExtensions(der: DerReader, field: string): Extensions {
  const extensions = new Map<string, Extension>();
  for (const { id, critical, value } of der.many(TAG.sequence, field, readExtension)) {
    // Of two, one reader would take the first and another the last.
    if (extensions.has(id)) throw new MalformedBytes(field, 0, `two extensions ${id}`, "one");
    extensions.set(id, { critical, value });
  }
  return extensions;
}

function readExtension(der: DerReader): Extension & { readonly id: string } {
  return der.sequence("Extension", (extension) => {
    const id = extension.oid("extnID");
    const critical = extension.next === TAG.boolean;
    // DER leaves out a value that is the default.
    if (critical && !extension.boolean("critical")) throw new MalformedBytes("critical", 0, "FALSE", "TRUE or nothing");
    return { id, critical, value: extension.octetString("extnValue") };
  });
}

/** Name ::= SEQUENCE OF SET OF { type, value }. */
function commonName(name: Buffer): string {
  const attributes = readDer(name, "subject", (der) =>
    der.many(TAG.sequence, "subject", (rdns) =>
      rdns.many(TAG.set, "RelativeDistinguishedName", (rdn) =>
        rdn.sequence("AttributeTypeAndValue", (attribute) => {
          const type = attribute.oid("type");
          const value = attribute.element(attribute.next ?? TAG.utf8String, "value").content.toString("utf8");
          return { type, value };
        }),
      ),
    ),
  ).flat();
  const names = attributes.filter(({ type }) => type === OID.commonName);
  if (names.length > 1) throw new MalformedBytes("subject", 0, `${names.length} common names`, "one");
  return names[0]?.value ?? "";
}

/** Whether basicConstraints says that it is a CA's (RFC 5280 §4.2.1.9). */
export const isCa = oncePer((certificate: Certificate): boolean =>
  readKnown(certificate, OID.basicConstraints, false, (der) =>
    der.sequence("basicConstraints", (constraints) => {
      const ca = constraints.next === TAG.boolean && constraints.boolean("cA");
      if (constraints.next !== undefined) constraints.integer("pathLenConstraint");
      return ca;
    }),
  ),
);

/** The first byte of keyUsage (RFC 5280 §4.2.1.3), digitalSignature highest; 0 where the certificate has none. */
export const keyUsage = oncePer((certificate: Certificate): number =>
  readKnown(certificate, OID.keyUsage, 0, (der) => der.bitString("keyUsage", false)[0] ?? 0),
);

function readKnown<T>(certificate: Certificate, id: string, absent: T, read: (der: DerReader) => T): T {
  const extension = certificate.extensions.get(id);
  if (extension === undefined) return absent;
  return refusing("malformed_certificate", () => readDer(extension.value, id, read));
}

/** @throws EvidenceError malformed_certificate */
export const publicKeyOf = oncePer((certificate: Certificate): KeyObject => {
  try {
    return createPublicKey({ key: certificate.spki, format: "der", type: "spki" });
  } catch (cause) {
    throw new EvidenceError("malformed_certificate", "the public key can't be read", {
      where: `${certificate.commonName}, subjectPublicKeyInfo`,
      got: certificate.spki.subarray(0, 32).toString("hex"),
      want: "a SubjectPublicKeyInfo",
      cause,
    });
  }
});

/** Runs a parser and turns its refusal into one with the given code. */
export function refusing<T>(code: "malformed_certificate" | "malformed_crl" | "malformed_report", parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    const { field, offset, got, want } = error;
    throw new EvidenceError(
      code,
      `the bytes at offset 0x${offset.toString(16)} are not what their specification says`,
      { where: shorten(field), got: shorten(got), want },
    );
  }
}

/** A peer chooses these bytes, and up to a mebibyte of them: they must not fill the log. */
function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
