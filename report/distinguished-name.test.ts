import { X509Certificate } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { generateEcKey, spki } from "../pki/keys.ts";
import { distinguishedName } from "./distinguished-name.ts";

const key = spki((await generateEcKey("P-256")).publicKey);
const ALGORITHM = encodeSequence(encodeOid("1.2.840.10045.4.3.2"));

/** What OpenSSL makes of a name, in a certificate that nobody signed. */
function shownByNode(name: Uint8Array): string {
  const time = encodeTime(new Date("2026-01-01T00:00:00Z"));
  const validity = encodeSequence(time, time);
  const tbs = encodeSequence(encodeInteger(1), ALGORITHM, encodeSequence(), validity, name, key);
  const certificate = new X509Certificate(encodeSequence(tbs, ALGORITHM, encodeBitString(Buffer.alloc(8))));
  return certificate.subject.split("\n").join(", ");
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const utf16 = (text: string): Buffer => Buffer.from(text, "utf16le").swap16();
/** Of each type of string, what it can hold. */
const value = fc.oneof(
  fc.string({ unit: "grapheme", minLength: 1 }).map((text) => encodeDer(TAG.utf8String, Buffer.from(text))),
  fc.string({ minLength: 1 }).map((text) => encodeDer(TAG.printableString, latin1(text))),
  fc.string({ minLength: 1 }).map((text) => encodeDer(TAG.ia5String, latin1(text))),
  fc
    .string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), minLength: 1 })
    .map((text) => encodeDer(0x14, latin1(text))),
  fc
    .string({ unit: fc.integer({ min: 0x20, max: 0xd7ff }).map((code) => String.fromCharCode(code)), minLength: 1 })
    .map((text) => encodeDer(0x1e, utf16(text))),
  fc
    .string({ unit: fc.constantFrom(...' #,+"\\<>;=\n\0\u007fa/'.split("")), minLength: 1 })
    .map((text) => encodeDer(TAG.utf8String, Buffer.from(text))),
);
const type = fc.constantFrom("2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.5", "1.2.840.113549.1.9.1", "1.3.9901.9.9");
const attribute = fc.tuple(type, value).map(([oid, encoded]) => encodeSequence(encodeOid(oid), encoded));
const rdn = fc
  .array(attribute, { minLength: 1, maxLength: 2 })
  .map((attributes) => encodeDer(TAG.set, ...attributes.toSorted((one, other) => Buffer.compare(one, other))));
const name = fc.array(rdn, { minLength: 1, maxLength: 3 }).map((rdns) => encodeSequence(...rdns));

test("a name is shown as OpenSSL shows it", () => {
  fc.assert(
    fc.property(name, (der) => {
      expect(distinguishedName(der)).toBe(shownByNode(der));
    }),
    { numRuns: 2000 },
  );
});

test("each attribute has the name that OpenSSL gives it", () => {
  const types = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 42, 43, 46].map((number) => `2.5.4.${number}`);
  const others = ["0.9.2342.19200300.100.1.1", "0.9.2342.19200300.100.1.25", "1.2.840.113549.1.9.1"];
  for (const oid of [...types, ...others]) {
    const text = encodeDer(TAG.utf8String, Buffer.from("x"));
    const der = encodeSequence(encodeDer(TAG.set, encodeSequence(encodeOid(oid), text)));
    expect(distinguishedName(der), oid).toBe(shownByNode(der));
    expect(distinguishedName(der)).toMatch(/^[A-Za-z]+=x$/);
  }
});
