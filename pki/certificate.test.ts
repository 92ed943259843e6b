import "reflect-metadata";
import { execFileSync } from "node:child_process";
import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate as OtherParser,
} from "@peculiar/x509";
import { afterAll, expect, test } from "vitest";
import { parseCertificate } from "../attestation/x509.ts";
import { issueCa, issueLeaf, type SubjectName } from "./certificate.ts";
import { generateEcKey, keyPairOf, spki } from "./keys.ts";

/** What is written here, others read: @peculiar/x509, OpenSSL's command line, node:crypto, and our strict parser. */

const directory = mkdtempSync(join(tmpdir(), "certificate-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

const validity = { notBefore: new Date("2026-01-02T03:04:05Z"), notAfter: new Date("2036-12-31T23:59:59Z") };
const names: SubjectName[] = [
  { kind: "dns", value: "web" },
  { kind: "dns", value: "*.example.org" },
  { kind: "ip", value: "203.0.113.34" },
  { kind: "ip", value: "2001:db8::1" },
  { kind: "uri", value: "spiffe://demo/web" },
];
const extensions = new Map([
  ["1.3.9901.2.1.1", Buffer.from("0c03736e70", "hex")],
  ["1.3.9901.2.1.16", Buffer.concat([Buffer.from("0c8200c8", "hex"), Buffer.alloc(200, "x")])],
]);

const [rootKey, meshKey, leafKey] = await Promise.all([
  generateEcKey("P-384"),
  generateEcKey("P-256"),
  generateEcKey("P-256"),
]);
const ca = { ...validity, pathLength: 0 };
const root = issueCa({
  ...ca,
  subject: "root",
  publicKey: rootKey.publicKey,
  issuer: { name: "root", key: rootKey },
  pathLength: 1,
});
const mesh = { ...ca, subject: "mesh", publicKey: meshKey.publicKey };
const intermediate = issueCa({ ...mesh, issuer: { name: "root", key: rootKey } });
const meshCa = issueCa({ ...mesh, issuer: { name: "mesh", key: meshKey } });
const leaf = issueLeaf({
  ...validity,
  subject: "web",
  publicKey: leafKey.publicKey,
  issuer: { name: "mesh", key: meshKey },
  names,
  extensions,
});

function openssl(...args: string[]): string {
  return execFileSync("openssl", args, { cwd: directory, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

test("@peculiar/x509 reads of a leaf what was put in", () => {
  const parsed = new OtherParser(leaf);
  expect([parsed.subject, parsed.issuer]).toEqual(["CN=web", "CN=mesh"]);
  expect([parsed.notBefore, parsed.notAfter]).toEqual([validity.notBefore, validity.notAfter]);
  expect(Buffer.from(parsed.publicKey.rawData)).toEqual(spki(leafKey.publicKey));
  expect(parsed.getExtension(BasicConstraintsExtension)).toMatchObject({ ca: false, critical: true });
  expect(parsed.getExtension(KeyUsagesExtension)).toMatchObject({
    usages: KeyUsageFlags.digitalSignature,
    critical: true,
  });
  expect(parsed.getExtension(ExtendedKeyUsageExtension)?.usages).toEqual(["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]);
  expect(parsed.getExtension(SubjectAlternativeNameExtension)?.names.toJSON()).toEqual([
    { type: "dns", value: "web" },
    { type: "dns", value: "*.example.org" },
    { type: "ip", value: "203.0.113.34" },
    { type: "ip", value: "2001:db8::1" },
    { type: "url", value: "spiffe://demo/web" },
  ]);
  for (const [oid, value] of extensions) {
    expect(Buffer.from(parsed.getExtension(oid)?.value ?? new ArrayBuffer())).toEqual(value);
  }
});

test("a leaf names the key of its issuer as the issuer's certificates name it", () => {
  const wanted = new OtherParser(leaf).getExtension(AuthorityKeyIdentifierExtension)?.keyId;
  expect(wanted).toMatch(/^[0-9a-f]{40}$/);
  for (const issuer of [intermediate, meshCa]) {
    expect(new OtherParser(issuer).getExtension(SubjectKeyIdentifierExtension)?.keyId).toBe(wanted);
  }
});

test("a CA may sign certificates as far down as it was told", () => {
  const constraints = [root, intermediate].map((pem) => new OtherParser(pem).getExtension(BasicConstraintsExtension));
  expect(constraints).toMatchObject([
    { ca: true, pathLength: 1, critical: true },
    { ca: true, pathLength: 0, critical: true },
  ]);
  const usages = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign;
  expect(new OtherParser(root).getExtension(KeyUsagesExtension)).toMatchObject({ usages, critical: true });
});

test("openssl follows the strict rules of RFC 5280 to either root, and prints the names", () => {
  writeFileSync(join(directory, "root.pem"), root);
  writeFileSync(join(directory, "mesh.pem"), meshCa);
  writeFileSync(join(directory, "chain.pem"), leaf + intermediate);
  for (const purpose of ["sslserver", "sslclient"]) {
    const flags = ["-x509_strict", "-purpose", purpose];
    expect(openssl("verify", ...flags, "-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem")).toContain("OK");
    expect(openssl("verify", ...flags, "-CAfile", "mesh.pem", "chain.pem")).toContain("OK");
  }
  const text = openssl("x509", "-in", "chain.pem", "-noout", "-text");
  expect(text).toContain(
    "DNS:web, DNS:*.example.org, IP Address:203.0.113.34, IP Address:2001:DB8:0:0:0:0:0:1, URI:spiffe://demo/web",
  );
  expect(text).toContain("Not After : Dec 31 23:59:59 2036 GMT");
});

test("our own strict parser accounts for every byte", () => {
  for (const pem of [root, intermediate, meshCa, leaf]) {
    const { raw } = new X509Certificate(pem);
    expect(parseCertificate(raw).notAfter).toEqual(validity.notAfter);
  }
});

test.each([
  ["RSA", "rsa", { modulusLength: 3072 }],
  ["P-384", "ec", { namedCurve: "P-384" }],
] as const)("a self-signed certificate of a key of %s verifies under itself", (_name, type, options) => {
  const { privateKey } = generateKeyPairSync(type as "rsa", options as { modulusLength: number });
  const key = keyPairOf(privateKey);
  const issuer = { name: "owner", key };
  const pem = issueLeaf({ ...validity, subject: "owner", publicKey: key.publicKey, issuer, names: [] });
  const certificate = new X509Certificate(pem);
  expect(certificate.verify(createPublicKey(privateKey))).toBe(true);
  expect(certificate.subjectAltName).toBeUndefined();
});

test("dates from 2050 on are written as RFC 5280 asks for", () => {
  const notAfter = new Date("2055-06-07T08:09:10Z");
  const issuer = { name: "far", key: rootKey };
  const pem = issueCa({ ...ca, notAfter, subject: "far", publicKey: rootKey.publicKey, issuer });
  expect(new OtherParser(pem).notAfter).toEqual(notAfter);
  expect(new X509Certificate(pem).validToDate).toEqual(notAfter);
});

test("serial numbers are positive, 16 bytes long, and never the same", () => {
  const issuer = { name: "web", key: leafKey };
  const make = (): string =>
    new X509Certificate(issueLeaf({ ...validity, subject: "web", publicKey: leafKey.publicKey, issuer, names: [] }))
      .serialNumber;
  const serials = Array.from({ length: 50 }, make);
  expect(new Set(serials).size).toBe(50);
  for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
});

test.each([
  ["dns", "müller.example"],
  ["dns", ""],
  ["uri", "spiffe://demo/\u{1f369}"],
  ["ip", "203.0.113"],
] as const)("a name that would be another one in the certificate is not written: %s %j", (kind, value) => {
  const issuer = { name: "web", key: leafKey };
  const request = { ...validity, subject: "web", publicKey: leafKey.publicKey, issuer };
  expect(() => issueLeaf({ ...request, names: [{ kind, value }] })).toThrow(TypeError);
});

test("a key of another kind signs nothing", () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519") as { publicKey: KeyObject; privateKey: KeyObject };
  const issuer = { name: "web", key: { publicKey, privateKey } };
  expect(() => issueLeaf({ ...validity, subject: "web", publicKey, issuer, names: [] })).toThrow(/ed25519/);
});
