import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { parseCertificate } from "../attestation/x509.ts";
import { createTestVendor, makeEvidence } from "../attestation/snp/test-vendor.ts";
import { encodeBitString, encodeDer, encodeOid, encodeSequence, encodeTime } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { spki } from "../pki/keys.ts";
import { type CertificateFacts, certificateFacts, keyType } from "./certificate-facts.ts";

const ALGORITHM = encodeSequence(encodeOid("1.2.840.10045.4.3.2"));
const KEYS = {
  "ECDSA P-256": generateKeyPairSync("ec", { namedCurve: "P-256" }),
  "ECDSA P-384": generateKeyPairSync("ec", { namedCurve: "P-384" }),
  "RSA 2048": generateKeyPairSync("rsa", { modulusLength: 2048 }),
};

function certificateOf(serial: readonly number[], key: Uint8Array): Uint8Array {
  const name = encodeSequence(
    encodeDer(TAG.set, encodeSequence(encodeOid("2.5.4.3"), encodeDer(TAG.utf8String, Buffer.from("a, b")))),
  );
  const validity = encodeSequence(
    encodeTime(new Date("2026-01-01T00:00:00Z")),
    encodeTime(new Date("2056-01-01T00:00:00Z")),
  );
  const version = encodeDer(TAG.context(0), encodeDer(TAG.integer, Buffer.of(2)));
  const extension = encodeSequence(encodeOid("2.5.29.19"), encodeDer(TAG.octetString, encodeSequence()));
  const extensions = encodeDer(TAG.context(3), encodeSequence(extension));
  const number = encodeDer(TAG.integer, Buffer.from(serial));
  const tbs = encodeSequence(version, number, ALGORITHM, name, validity, name, key, extensions);
  return encodeSequence(tbs, ALGORITHM, encodeBitString(Buffer.alloc(8)));
}

/** What stood in reports when OpenSSL read the certificates. */
function readByNode(der: Buffer): Partial<CertificateFacts> {
  const { subject, issuer, serialNumber, fingerprint256, validFromDate, validToDate } = new X509Certificate(der);
  return {
    subject: subject.split("\n").join(", "),
    issuer: issuer.split("\n").join(", "),
    serial: serialNumber.toLowerCase(),
    sha256: fingerprint256.replaceAll(":", "").toLowerCase(),
    notBefore: validFromDate.toISOString(),
    notAfter: validToDate.toISOString(),
  };
}

test("a certificate is told as OpenSSL tells it", async () => {
  const { certificates } = makeEvidence(await createTestVendor());
  const made = [[0], [1], [0x7f], [0, 0x80], [0x12, 0x34], [0, 0xff, 0, 0]].flatMap((serial) =>
    Object.values(KEYS).map(({ publicKey }) => certificateOf(serial, spki(publicKey))),
  );
  for (const der of [...made, ...certificates]) {
    expect(certificateFacts("x", parseCertificate(der))).toMatchObject(readByNode(Buffer.from(der)));
  }
});

test("a key is told by its algorithm and its size", () => {
  for (const [text, { publicKey }] of Object.entries(KEYS)) expect(keyType(spki(publicKey))).toBe(text);
  expect(keyType(spki(generateKeyPairSync("ed25519").publicKey))).toBe("unknown");
});
