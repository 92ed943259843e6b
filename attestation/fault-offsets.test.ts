import { beforeAll, expect, test } from "vitest";
import { encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { generateEcKey, type KeyPair, spki } from "../pki/keys.ts";
import { parseRevocationList } from "./crl.ts";
import { encodeName, encodeSigned, issueCertificate, type Signer } from "./simulated/certificates.ts";
import { AMD_OID, type EndorsementKind, parseEndorsement } from "./snp/certificate.ts";
import { vcek } from "./snp/test-vendor.ts";
import { ECDSA_SHA256 } from "./tdx/ecdsa.ts";
import { parsePck, SGX_OID } from "./tdx/pck.ts";
import { pckExtensions } from "./tdx/test-vendor.ts";
import { type Extensions, isCa, keyUsage, OID, parseCertificate } from "./x509.ts";

/** A refusal names the place in the file, however deep the fault lies in it: that is where people look. */

const TIME = new Date("2026-06-01T00:00:00Z");
/** Nobody verifies anything here. */
const SIGNER: Signer = { algorithm: ECDSA_SHA256, sign: () => Buffer.alloc(8) };

let amd: KeyPair;
let intel: KeyPair;
beforeAll(async () => {
  [amd, intel] = await Promise.all([generateEcKey("P-384"), generateEcKey("P-256")]);
});

function certificate({ publicKey }: KeyPair, extensions: Extensions): Uint8Array {
  const validity = { notBefore: TIME, notAfter: TIME };
  return issueCertificate({ ...validity, subject: "leaf", issuer: "ca", publicKey, serial: 1, extensions }, SIGNER);
}

function only(id: string, value: Uint8Array): Extensions {
  return new Map([[id, { critical: false, value }]]);
}

function without(extensions: Extensions, id: string): Extensions {
  return new Map([...extensions].filter(([other]) => other !== id));
}

const text = (content: string): Uint8Array => encodeDer(TAG.ia5String, Buffer.from(content));
const octets = (length: number): Uint8Array => encodeDer(TAG.octetString, Buffer.alloc(length, 0xab));
const endorsement =
  (kind: EndorsementKind) =>
  (der: Uint8Array): unknown =>
    parseEndorsement(kind, parseCertificate(der));
const pck = (der: Uint8Array): unknown => parsePck(parseCertificate(der));

/** Stands for the list of extensions. */
const LIST = Buffer.alloc(0);

test.each<[string, Extensions, (der: Uint8Array) => unknown, Uint8Array]>([
  [
    "a negative number in a VCEK",
    vcek("Milan", { [AMD_OID.snp]: Buffer.from("0201f7", "hex") }),
    endorsement("vcek"),
    Buffer.from("0201f7", "hex"),
  ],
  ["an unknown product", vcek("Milan", { [AMD_OID.productName]: text("Rome") }), endorsement("vcek"), text("Rome")],
  [
    "an unknown structure",
    vcek("Milan", { [AMD_OID.structVersion]: Buffer.from("020177", "hex") }),
    endorsement("vcek"),
    Buffer.from("020177", "hex"),
  ],
  [
    "a reserved part",
    vcek("Milan", { [AMD_OID.reserved[2]]: Buffer.from("020177", "hex") }),
    endorsement("vcek"),
    Buffer.from("020177", "hex"),
  ],
  [
    "a short chip",
    vcek("Milan", { [AMD_OID.hwid]: Buffer.alloc(63, 0x77) }),
    endorsement("vcek"),
    Buffer.alloc(63, 0x77),
  ],
  [
    "the chip of a VLEK",
    vcek("Milan"),
    endorsement("vlek"),
    encodeSequence(encodeOid(AMD_OID.hwid), octetsOf(Buffer.alloc(64, 0xc1))),
  ],
  ["no TCB", without(vcek("Milan"), AMD_OID.tee), endorsement("vcek"), LIST],
  [
    "an odd cloud",
    vcek("Milan", { [AMD_OID.hwid]: undefined, [AMD_OID.cspId]: text("\t") }),
    endorsement("vlek"),
    text("\t"),
  ],
  ["a short FMSPC", pckExtensions({ [SGX_OID.fmspc]: octets(5) }), pck, octets(5)],
  [
    "a large SVN, two levels down",
    pckExtensions({ [SGX_OID.pceSvn]: encodeInteger(0x12345) }),
    pck,
    encodeInteger(0x12345),
  ],
  [
    "an odd flag, two levels down",
    pckExtensions({ [SGX_OID.smtEnabled]: Buffer.from("010177", "hex") }),
    pck,
    Buffer.from("010177", "hex"),
  ],
  ["no extension of Intel's", only("1.2.3", octets(1)), pck, LIST],
  [
    "bits that are not used",
    only(OID.keyUsage, Buffer.from("03020177", "hex")),
    (der) => keyUsage(parseCertificate(der)),
    Buffer.from("03020177", "hex"),
  ],
  [
    "an odd CA",
    only(OID.basicConstraints, Buffer.from("3003010177", "hex")),
    (der) => isCa(parseCertificate(der)),
    Buffer.from("010177", "hex"),
  ],
])("%s", (_, extensions, parse, fault) => {
  const keys = parse === pck ? intel : amd;
  const der = certificate(keys, extensions);
  const key = spki(keys.publicKey);
  const list = indexOf(der, key) + key.length;
  expect(der[list]).toBe(TAG.context(3));
  const offset = fault === LIST ? list : indexOf(der, fault);
  expect(offset).toBeGreaterThanOrEqual(list);
  expect(() => parse(der)).toThrow(at("malformed_certificate", offset));
});

test("a known place: 0x150 of a certificate of which nothing but the key is chance", () => {
  const der = certificate(intel, pckExtensions({ [SGX_OID.ppid]: octets(5) }));
  expect(indexOf(der, octets(5))).toBe(0x150);
  expect(() => pck(der)).toThrow(at("malformed_certificate", 0x150));
});

test("two common names", () => {
  const subject = encodeSequence(attribute("one"), attribute("two"));
  const body = [
    encodeDer(TAG.context(0), encodeInteger(2)),
    encodeInteger(1),
    SIGNER.algorithm,
    encodeName("ca"),
    encodeSequence(encodeTime(TIME), encodeTime(TIME)),
  ];
  const rest = [encodeSequence(), encodeDer(TAG.context(3), encodeSequence())];
  const der = encodeSigned(SIGNER, [...body, subject, ...rest]);
  const offset = indexOf(der, subject);
  // Twice a header of three bytes, and what stands before.
  expect(offset).toBe(2 * 3 + Buffer.concat(body).length);
  expect(() => parseCertificate(der)).toThrow(at("malformed_certificate", offset));
});

test("a critical extension of a revocation list and of an entry", () => {
  const critical = encodeSequence(encodeOid("2.5.29.27"), encodeDer(TAG.boolean, Buffer.of(0xff)), octets(1));
  const head = [encodeInteger(1), SIGNER.algorithm, encodeName("ca"), encodeTime(TIME), encodeTime(TIME)];
  const ofList = encodeDer(TAG.context(0), encodeSequence(critical));
  const ofEntry = encodeSequence(encodeSequence(encodeInteger(7), encodeTime(TIME), encodeSequence(critical)));
  for (const part of [ofList, ofEntry]) {
    const der = encodeSigned(SIGNER, [...head, part]);
    expect(() => parseRevocationList(der)).toThrow(at("malformed_crl", indexOf(der, critical)));
  }
});

function attribute(commonName: string): Uint8Array {
  return encodeDer(
    TAG.set,
    encodeSequence(encodeOid(OID.commonName), encodeDer(TAG.utf8String, Buffer.from(commonName))),
  );
}

function octetsOf(content: Uint8Array): Uint8Array {
  return encodeDer(TAG.octetString, content);
}

function at(code: string, offset: number): unknown {
  return expect.objectContaining({
    code,
    message: `the bytes at offset 0x${offset.toString(16)} are not what their specification says`,
  });
}

function indexOf(bytes: Uint8Array, part: Uint8Array): number {
  return Buffer.from(bytes).indexOf(part);
}
