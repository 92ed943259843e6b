import { MalformedBytes } from "../bytes/cursor.ts";
import { isEqual, toHex, toUtf8 } from "../bytes/encode.ts";
import { isPublicKey } from "../crypto/node.ts";
import type { KeyType } from "../crypto/primitives.ts";
import { type DerReader, type Element, readDer, TAG } from "../pki/der.ts";
import { EvidenceError } from "./error.ts";
import { refusing } from "./malformed.ts";
import { memoize } from "./memoize.ts";

/**
 * Parses X.509 v3 certificates (RFC 5280 §4) to the last byte. There is one parser, so that no two parts of the program
 * can read one certificate in two ways. Nothing is verified here.
 */

/** A structure with a signature: certificates and revocation lists. */
export interface Signed {
  /** The bytes that the signature covers. */
  readonly tbs: Uint8Array;
  /** AlgorithmIdentifier, DER. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
}

export interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** Dotted object identifier to extension. */
export type Extensions = ReadonlyMap<string, Extension>;

/** An extension that was read. Offsets count from the start of the certificate or list. */
export interface ParsedExtension extends Extension {
  readonly offset: number;
  readonly valueOffset: number;
}

export type ParsedExtensions = ReadonlyMap<string, ParsedExtension>;

export interface Certificate extends Signed {
  /** Equal serial numbers have equal bytes. */
  readonly serial: Uint8Array;
  /** Name, DER: an issuer is found by equal bytes. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** The subject's common name; empty where it has none. */
  readonly commonName: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly extensions: ParsedExtensions;
  /** Where the list of them begins, in the certificate. */
  readonly extensionsOffset: number;
}

export const OID = { commonName: "2.5.4.3", keyUsage: "2.5.29.15", basicConstraints: "2.5.29.19" } as const;

/** @throws EvidenceError malformed_certificate */
export function parseCertificate(der: Uint8Array): Certificate {
  return refusing("malformed_certificate", () =>
    readSigned(der, "Certificate", (tbs, algorithm) => {
      tbs.nested(TAG.context(0), "version", (version) => {
        const { offset } = version;
        const number = version.byte("version");
        if (number !== 2) throw new MalformedBytes("version", offset, `${number}`, "2 (v3)");
      });
      const serial = tbs.integer("serialNumber");
      algorithm(tbs);
      const { encoding: issuer } = tbs.element(TAG.sequence, "issuer");
      const [notBefore, notAfter] = tbs.sequence("validity", (validity) => [
        validity.time("notBefore"),
        validity.time("notAfter"),
      ]);
      const subject = tbs.element(TAG.sequence, "subject");
      const { encoding: spki } = tbs.element(TAG.sequence, "subjectPublicKeyInfo");
      const extensionsOffset = tbs.offset;
      const extensions = tbs.nested(TAG.context(3), "extensions", (wrapper) => readExtensions(wrapper, "extensions"));
      return {
        serial,
        issuer,
        subject: subject.encoding,
        commonName: commonName(subject),
        notBefore,
        notAfter,
        spki,
        extensions,
        extensionsOffset,
      };
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
      const { offset } = envelope;
      let signed: { readonly algorithm: Uint8Array; readonly offset: number } | undefined;
      const body = envelope.sequence(`tbs${what}`, (reader) =>
        readBody(reader, (at) => {
          signed = { offset: at.offset, algorithm: at.element(TAG.sequence, "signature").encoding };
        }),
      );
      const tbs = envelope.since(offset);
      const { encoding: signatureAlgorithm } = envelope.element(TAG.sequence, "signatureAlgorithm");
      // Only the inner one is signed: an attacker could name a weaker algorithm in the outer one.
      if (signed === undefined || !isEqual(signed.algorithm, signatureAlgorithm)) {
        const got = signed === undefined ? "nothing" : toHex(signed.algorithm);
        throw new MalformedBytes("signature", signed?.offset ?? offset, got, toHex(signatureAlgorithm));
      }
      return { ...body, tbs, signatureAlgorithm, signature: envelope.bitString("signatureValue", true) };
    }),
  );
}

/** Extensions ::= SEQUENCE OF { extnID, critical DEFAULT FALSE, extnValue }, each identifier once. */
export function readExtensions(der: DerReader, field: string): ParsedExtensions {
  const extensions = new Map<string, ParsedExtension>();
  for (const { id, ...extension } of der.many(TAG.sequence, field, readExtension)) {
    // Of two, one reader would take the first and another the last.
    if (extensions.has(id)) throw new MalformedBytes(field, extension.offset, `two extensions ${id}`, "one");
    extensions.set(id, extension);
  }
  return extensions;
}

function readExtension(der: DerReader): ParsedExtension & { readonly id: string } {
  const { offset } = der;
  return der.sequence("Extension", (extension) => {
    const id = extension.oid("extnID");
    const at = extension.offset;
    const critical = extension.next === TAG.boolean;
    // DER leaves out a value that is the default.
    if (critical && !extension.boolean("critical")) {
      throw new MalformedBytes("critical", at, "FALSE", "TRUE or nothing");
    }
    const value = extension.octetString("extnValue");
    return { id, critical, value, offset, valueOffset: extension.offset - value.length };
  });
}

/** Name ::= SEQUENCE OF SET OF { type, value }. */
function commonName({ encoding, offset }: Element): string {
  const read = (der: DerReader) =>
    der.many(TAG.sequence, "subject", (rdns) =>
      rdns.many(TAG.set, "RelativeDistinguishedName", (rdn) =>
        rdn.sequence("AttributeTypeAndValue", (attribute) => {
          const type = attribute.oid("type");
          const { content } = attribute.element(attribute.next ?? TAG.utf8String, "value");
          return { type, value: toUtf8(content) };
        }),
      ),
    );
  const attributes = readDer(encoding, "subject", read, offset).flat();
  const names = attributes.filter(({ type }) => type === OID.commonName);
  if (names.length > 1) throw new MalformedBytes("subject", offset, `${names.length} common names`, "one");
  return names[0]?.value ?? "";
}

/** Whether basicConstraints says that it is a CA's (RFC 5280 §4.2.1.9). */
export const isCa = memoize((certificate: Certificate): boolean =>
  readKnown(certificate, OID.basicConstraints, false, (der) =>
    der.sequence("basicConstraints", (constraints) => {
      const ca = constraints.next === TAG.boolean && constraints.boolean("cA");
      if (constraints.next !== undefined) constraints.integer("pathLenConstraint");
      return ca;
    }),
  ),
);

/** The first byte of keyUsage (RFC 5280 §4.2.1.3), digitalSignature highest; 0 where the certificate has none. */
export const keyUsage = memoize((certificate: Certificate): number =>
  readKnown(certificate, OID.keyUsage, 0, (der) => der.bitString("keyUsage", false)[0] ?? 0),
);

function readKnown<T>(certificate: Certificate, id: string, absent: T, read: (der: DerReader) => T): T {
  const extension = certificate.extensions.get(id);
  if (extension === undefined) return absent;
  return refusing("malformed_certificate", () => readDer(extension.value, id, read, extension.valueOffset));
}

/**
 * @returns SubjectPublicKeyInfo, DER
 * @throws EvidenceError malformed_certificate where it is no key of that type
 */
export function publicKeyOf({ commonName, spki }: Certificate, type: KeyType): Uint8Array {
  if (isPublicKey(type, spki)) return spki;
  throw new EvidenceError("malformed_certificate", "the public key can't be read", {
    where: `${commonName}, subjectPublicKeyInfo`,
    got: toHex(spki.subarray(0, 32)),
    want: "a SubjectPublicKeyInfo",
  });
}
