import { expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { parseCertificate } from "./x509.ts";

const ALGORITHM = encodeSequence(encodeOid("1.2.3"));
const TIME = new Date("2026-06-01T00:00:00Z");

/** The parts of a certificate in their order; each can be replaced, or left out by an empty buffer. */
const PARTS = {
  version: encodeDer(TAG.context(0), encodeInteger(2)),
  serial: encodeInteger(7),
  algorithm: ALGORITHM,
  issuer: name("issuer"),
  validity: encodeSequence(encodeTime(TIME), encodeTime(TIME)),
  subject: name("subject"),
  spki: encodeSequence(),
  extensions: extensions(extension("1.2.4")),
  more: Buffer.alloc(0),
};

type Parts = Readonly<Record<keyof typeof PARTS, Uint8Array>>;

function certificate(changes: Partial<Parts> = {}): Uint8Array {
  const tbs = encodeSequence(...Object.values({ ...PARTS, ...changes }));
  return encodeSequence(tbs, ALGORITHM, encodeBitString(Buffer.of(1, 2)));
}

function name(...commonNames: readonly string[]): Uint8Array {
  const attributes = commonNames.map((text) =>
    encodeDer(TAG.set, encodeSequence(encodeOid("2.5.4.3"), encodeDer(TAG.utf8String, Buffer.from(text)))),
  );
  return encodeSequence(...attributes);
}

function extensions(...items: readonly Uint8Array[]): Uint8Array {
  return encodeDer(TAG.context(3), encodeSequence(...items));
}

function extension(id: string, critical?: number): Uint8Array {
  const flag = critical === undefined ? [] : [encodeDer(TAG.boolean, Buffer.of(critical))];
  return encodeSequence(encodeOid(id), ...flag, encodeDer(TAG.octetString, Buffer.of(5)));
}

test("a certificate is parsed", () => {
  const der = certificate({ extensions: extensions(extension("1.2.4"), extension("1.2.5", 0xff)) });
  const parsed = parseCertificate(der);
  const place = (...parts: Parameters<typeof extension>): object => {
    const offset = Buffer.from(der).indexOf(extension(...parts));
    return { offset, valueOffset: offset + extension(...parts).length - 1 };
  };
  expect(parsed).toMatchObject({ commonName: "subject", notBefore: TIME, notAfter: TIME });
  expect([toHex(parsed.serial), toHex(parsed.signature)]).toEqual(["07", "0102"]);
  expect([...parsed.extensions]).toEqual([
    ["1.2.4", { critical: false, value: Buffer.of(5), ...place("1.2.4") }],
    ["1.2.5", { critical: true, value: Buffer.of(5), ...place("1.2.5", 0xff) }],
  ]);
});

test("a subject without a common name has an empty one", () => {
  expect(parseCertificate(certificate({ subject: name() })).commonName).toBe("");
});

test.each<[string, Partial<Parts>]>([
  ["another version", { version: encodeDer(TAG.context(0), encodeInteger(1)) }],
  ["no version", { version: Buffer.alloc(0) }],
  ["a negative serial number", { serial: encodeDer(TAG.integer, Buffer.of(0x80)) }],
  ["another algorithm in its body than outside", { algorithm: encodeSequence(encodeOid("1.2.9")) }],
  ["two common names", { subject: name("SEV-VCEK", "SEV-VLEK") }],
  ["a unique identifier", { extensions: Buffer.concat([encodeDer(0x81, Buffer.of(0)), PARTS.extensions]) }],
  ["no extensions", { extensions: Buffer.alloc(0) }],
  ["the same extension twice", { extensions: extensions(extension("1.2.4"), extension("1.2.4")) }],
  ["a default that is written out", { extensions: extensions(extension("1.2.4", 0x00)) }],
  ["something behind its extensions", { more: encodeInteger(1) }],
])("one with %s is refused", (_, changes) => {
  expect(() => parseCertificate(certificate(changes))).toThrow(
    expect.objectContaining({ name: "EvidenceError", code: "malformed_certificate" }),
  );
});

test("a refusal does not repeat all that a peer sent", () => {
  const validity = encodeSequence(encodeDer(TAG.utcTime, Buffer.alloc(100_000, 0x41)), encodeTime(TIME));
  expect(() => parseCertificate(certificate({ validity }))).toThrow(
    expect.objectContaining({ where: "notBefore", got: `"${"A".repeat(116)}...` }),
  );
});
