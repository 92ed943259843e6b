import { beforeAll, expect, test } from "vitest";
import type { EvidenceCode } from "../../attestation/error.ts";
import { parsePemCertificates } from "../../attestation/pem.ts";
import { createTestVendor, makeEvidence, pem } from "../../attestation/tdx/test-vendor.ts";
import { toBase64, toUtf8 } from "../../bytes/encode.ts";
import { decodeCertificates, decodeRevocationList, distinct, encodePem, rootsAmong } from "./certificates.ts";

let signer: Uint8Array;
let root: Uint8Array;
let list: Uint8Array;

beforeAll(async () => {
  const { collateral } = makeEvidence(await createTestVendor());
  [signer, root] = decodeCertificates(collateral?.signingChain ?? Buffer.alloc(0), "file") as [Uint8Array, Uint8Array];
  list = collateral?.pckCrl ?? Buffer.alloc(0);
});

const refusal = (code: EvidenceCode): unknown => expect.objectContaining({ code, where: "file" });

test("certificates are read from DER, from several DER in a row, and from PEM with text around it", () => {
  expect(decodeCertificates(root, "file")).toEqual([root]);
  expect(decodeCertificates(Buffer.concat([signer, root]), "file")).toEqual([signer, root]);
  const text = toUtf8(pem(signer, root)).replaceAll("\n", "\r\n");
  const annotated = `0 s:CN=TCB signer\n${text.replaceAll("-----BEGIN", "subject: somebody\r\n-----BEGIN")}end\0`;
  expect(decodeCertificates(Buffer.from(annotated), "file")).toEqual([signer, root]);
});

test("files without certificates, with damaged or with too many ones are refused", () => {
  const text = toUtf8(pem(root));
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from("hello"),
    Buffer.from(text.replace("-----END", "----END")),
    Buffer.from(text.replace("MII", "M*I")),
    Buffer.from(text.replace("MII", "M-I")),
    pem(...Array.from({ length: 13 }, () => root)),
    Buffer.concat(Array.from({ length: 13 }, () => root)),
    Buffer.concat([root, Buffer.of(0)]),
    root.subarray(0, -1),
  ]) {
    expect(() => decodeCertificates(bytes, "file")).toThrow(refusal("malformed_certificate"));
  }
});

test("a revocation list is read from DER and from PEM", () => {
  const block = (label: string): string =>
    `text\n-----BEGIN ${label}-----\n${toBase64(list)}\n-----END ${label}-----\n`;
  expect(decodeRevocationList(list, "file")).toEqual(list);
  expect(decodeRevocationList(Buffer.from(block("X509 CRL")), "file")).toEqual(list);
  for (const text of ["", block("CERTIFICATE"), block("X509 CRL").repeat(2)]) {
    expect(() => decodeRevocationList(Buffer.from(text), "file")).toThrow(refusal("malformed_crl"));
  }
});

test("PEM is written in the strict form, each certificate once", () => {
  const written = encodePem(distinct([root, signer, root]));
  expect(parsePemCertificates(written, "chain").map(({ commonName }) => commonName)).toEqual([
    "Intel SGX Root CA",
    "Intel SGX TCB Signing",
  ]);
});

test("a trust anchor is a certificate that names itself as its issuer", () => {
  expect(rootsAmong([signer, root], "file").map(({ commonName }) => commonName)).toEqual(["Intel SGX Root CA"]);
  expect(() => rootsAmong([signer], "file")).toThrow(refusal("malformed_certificate"));
});
