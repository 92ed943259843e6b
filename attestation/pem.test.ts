import { beforeAll, expect, test } from "vitest";
import { toUtf8 } from "../bytes/encode.ts";
import { generateEcKey } from "../pki/keys.ts";
import { parsePemCertificates } from "./pem.ts";
import { CA_EXTENSIONS, intelSigner, issue, pem } from "./tdx/test-vendor.ts";

let first: Uint8Array;
let second: Uint8Array;

beforeAll(async () => {
  const key = await generateEcKey("P-256");
  const make = (subject: string): Uint8Array =>
    issue(key, subject, subject, 1, CA_EXTENSIONS, undefined, intelSigner(key.privateKey));
  [first, second] = [pem(make("first")), pem(make("second"))];
});

const refused = expect.objectContaining({ name: "EvidenceError", code: "malformed_certificate" });

test("certificates are read in their order, with either line end, with or without the last one and a zero byte", () => {
  const text = Buffer.concat([first, second]).toString();
  for (const lines of [text, text.replaceAll("\n", "\r\n")]) {
    for (const end of [lines, lines.trimEnd(), `${lines}\0`, `${lines.trimEnd()}\0`]) {
      const certificates = parsePemCertificates(Buffer.from(end), "file");
      expect(certificates.map(({ commonName }) => commonName)).toEqual(["first", "second"]);
    }
  }
});

test.each<[string, (text: string) => string]>([
  ["nothing", () => ""],
  ["text before it", (text) => `subject=first\n${text}`],
  ["text behind it", (text) => `${text}hello`],
  ["two zero bytes", (text) => `${text}\0\0`],
  ["another label", (text) => text.replaceAll("CERTIFICATE", "X509 CRL")],
  ["a space in it", (text) => text.replace("MI", "M I")],
  ["a digit missing", (text) => text.replace("MI", "M")],
  ["13 certificates", (text) => text.repeat(13)],
])("a file with %s is refused", (_, edit) => {
  expect(() => parsePemCertificates(Buffer.from(edit(toUtf8(first))), "file")).toThrow(refused);
});

test.each([
  ["beginnings", "-----BEGIN CERTIFICATE-----\n"],
  ["blocks", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
  ["line ends", "\r\n"],
  ["dashes", "-"],
])("a mebibyte of %s is refused in no time", (_, text) => {
  const file = Buffer.from(`${text.repeat(2 ** 20 / text.length)}!`);
  const start = process.cpuUsage();
  expect(() => parsePemCertificates(file, "file")).toThrow(refused);
  // Time of the processor: others may keep it busy, too.
  expect(process.cpuUsage(start).user / 1000).toBeLessThan(200);
});
