import { execFileSync } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { toUtf8 } from "../bytes/encode.ts";
import { issueLeaf } from "../pki/certificate.ts";
import { encodeDer } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { claimExtensions, claims } from "./claims.ts";
import { readClaims } from "./read-claims.ts";
import type { SnpClaims } from "./snp/claims.ts";
import * as amd from "./snp/test-vendor.ts";
import { verifySnp } from "./snp/verify.ts";
import type { TdxClaims } from "./tdx/claims.ts";
import * as intel from "./tdx/test-vendor.ts";
import { verifyTdx } from "./tdx/verify.ts";

const key = generateKeyPairSync("ec", { namedCurve: "P-256" });
let amdVendor: amd.TestVendor;
let snp: SnpClaims;
let tdx: TdxClaims;

beforeAll(async () => {
  let intelVendor: intel.TestVendor;
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
  const trustAnchors = amd.asVendorRoot(amdVendor, "Milan");
  snp = claims(verifySnp(amd.makeEvidence(amdVendor), { trustAnchors, at: amd.NOW }));
  const roots = { trustAnchors: new Set([intelVendor.rootDigest]), at: intel.NOW };
  tdx = claims(verifyTdx(intel.makeEvidence(intelVendor), roots));
});

/** DER of a leaf with these extensions. */
function leaf(extensions: ReadonlyMap<string, Uint8Array>): Buffer {
  const pem = issueLeaf({
    subject: "web",
    publicKey: key.publicKey,
    issuer: { name: "Contrast mesh CA", key },
    notBefore: new Date("2026-01-01"),
    notAfter: new Date("2046-01-01"),
    names: [],
    extensions,
  });
  return new X509Certificate(pem).raw;
}

const utf8 = (text: string): Buffer => encodeDer(TAG.utf8String, Buffer.from(text));
const SNP = (number: number): string => `1.3.9901.2.1.${number}`;

/** What is defined of it. */
function defined(all: object): object {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

test("what the certificate says is what the evidence said", () => {
  for (const said of [snp, tdx]) {
    const read = readClaims(leaf(claimExtensions(said)));
    expect(read).toEqual({ tee: said.tee, claims: defined(said), unknown: [] });
  }
});

test("a report of version 5 of Turin, by a VLEK and with an ID block, says more", () => {
  const report = {
    version: 5,
    mitigations: { launch: 0x1fn, current: 2n ** 64n - 1n },
    idKeyDigest: Buffer.alloc(48, 0x1d),
    authorKeyEnabled: true,
    authorKeyDigest: Buffer.alloc(48, 0xa0),
    familyId: Buffer.alloc(16, 0xfa),
    imageId: Buffer.alloc(16, 0x13),
    guestSvn: 0xffff_ffff,
  };
  const trustAnchors = amd.asVendorRoot(amdVendor, "Turin");
  const evidence = amd.makeEvidence(amdVendor, { product: "Turin", kind: "vlek", report });
  const said = claims(verifySnp(evidence, { trustAnchors, at: amd.NOW }));
  const read = readClaims(leaf(claimExtensions(said)));
  expect(read).toEqual({ tee: "snp", claims: said, unknown: [] });
  expect(read?.claims).toMatchObject({
    product: "Turin",
    signingKey: "VLEK",
    reportedTcbFmc: 1,
    reportedTcbMicrocode: 200,
    launchMitigations: "0x1f",
    currentMitigations: "0xffffffffffffffff",
    idKeyDigest: "1d".repeat(48),
    authorKeyDigest: "a0".repeat(48),
    familyId: "fa".repeat(16),
    imageId: "13".repeat(16),
    guestSvn: 4294967295,
    cpuidFamily: 0x1a,
  });
});

test("what nobody has signed is no claim", () => {
  // The host chose these bytes, or may have.
  const report = {
    idKeyDigest: Buffer.alloc(48),
    authorKeyDigest: Buffer.alloc(48, 1),
    familyId: Buffer.alloc(16, 1),
    guestSvn: 7,
  };
  const trustAnchors = amd.asVendorRoot(amdVendor, "Milan");
  const said = claims(verifySnp(amd.makeEvidence(amdVendor, { report }), { trustAnchors, at: amd.NOW }));
  const names = Object.keys(readClaims(leaf(claimExtensions(said)))?.claims ?? {});
  for (const name of ["idKeyDigest", "authorKeyDigest", "familyId", "imageId", "guestSvn"])
    expect(names).not.toContain(name);
});

test("a certificate without claims has none", () => {
  expect(readClaims(leaf(new Map()))).toBeUndefined();
  expect(
    readClaims(
      leaf(
        new Map([
          ["1.3.9901.2.11", utf8("x")],
          ["1.3.9901.2.4.1", utf8("ab")],
        ]),
      ),
    ),
  ).toBeUndefined();
});

test("a Coordinator of version 0.1 wrote eleven", () => {
  const first = [...claimExtensions(snp)].slice(0, 11);
  const read = readClaims(leaf(new Map(first)));
  expect(Object.keys(read?.claims ?? {})).toHaveLength(11);
  expect(read?.claims).toMatchObject({ tee: "snp", debug: false, insecure: false, cspId: "" });
});

test("claims of a later version are named, and the others read", () => {
  const later = [SNP(200), `${SNP(3)}.1`];
  const read = readClaims(leaf(new Map([...claimExtensions(snp), ...later.map((id) => [id, utf8("new")] as const)])));
  expect(read).toMatchObject({ claims: { measurement: snp.measurement }, unknown: later });
});

const refused = (want: object): unknown => expect.objectContaining({ code: "malformed_certificate", ...want });

test.each<[string, Record<string, Buffer>, object]>([
  ["another TEE's name", { [SNP(1)]: utf8("tdx") }, { where: SNP(1), got: "tdx", want: "snp" }],
  ["upper-case bytes", { [SNP(3)]: utf8("AB".repeat(48)) }, { where: SNP(3), want: "48 bytes" }],
  ["too few bytes", { [SNP(3)]: utf8("ab".repeat(47)) }, { where: SNP(3) }],
  ["a number with zeros before it", { [SNP(7)]: utf8("00") }, { where: SNP(7), got: "00" }],
  ["another word for false", { [SNP(8)]: utf8("0") }, { where: SNP(8), want: "true or false" }],
  ["bytes that are no UTF-8", { [SNP(11)]: encodeDer(TAG.utf8String, Buffer.of(0xff)) }, { where: SNP(11) }],
  ["another kind of string", { [SNP(8)]: encodeDer(TAG.ia5String, Buffer.from("false")) }, { where: SNP(8) }],
  ["a boolean of DER", { [SNP(8)]: encodeDer(TAG.boolean, Buffer.of(0)) }, { where: SNP(8) }],
  ["something behind the value", { [SNP(8)]: Buffer.concat([utf8("false"), utf8("true")]) }, { where: SNP(8) }],
  ["nothing", { [SNP(8)]: Buffer.alloc(0) }, { where: SNP(8) }],
])("a claim that is %s is refused", (_, changed, want) => {
  const extensions = new Map([...claimExtensions(snp), ...Object.entries(changed)]);
  expect(() => readClaims(leaf(extensions))).toThrow(refused(want));
});

test("claims of two TEEs, and of one that is not named, are refused", () => {
  const both = new Map([...claimExtensions(snp), ...claimExtensions(tdx)]);
  expect(() => readClaims(leaf(both))).toThrow(refused({ where: "claims", got: "claims of two TEEs" }));
  const nameless = new Map([...claimExtensions(snp)].slice(1));
  expect(() => readClaims(leaf(nameless))).toThrow(refused({ where: "claims" }));
});

/** An OBJECT IDENTIFIER of the arc of SNP, DER. */
const oid = (number: number): Buffer => Buffer.from([0x06, 6, 0x2b, 0xcd, 0x2d, 2, 1, number]);

test("a claim twice is refused", () => {
  const der = leaf(new Map([...claimExtensions(snp), [SNP(99), utf8("false")]]));
  oid(8).copy(der, der.indexOf(oid(99)));
  expect(() => readClaims(der)).toThrow(refused({ got: `two extensions ${SNP(8)}` }));
});

test("a critical claim is refused", () => {
  const der = leaf(claimExtensions(snp));
  // In the place of an OCTET STRING of 7 bytes, the UTF8String `false`: TRUE, and an OCTET STRING of the UTF8String `ok`.
  Buffer.from([0x01, 1, 0xff, 0x04, 4, 0x0c, 2, 0x6f, 0x6b]).copy(der, der.indexOf(oid(8)) + oid(8).length);
  expect(() => readClaims(der)).toThrow(refused({ where: SNP(8), got: "a critical extension" }));
});

test("openssl shows every claim", () => {
  for (const said of [snp, tdx]) {
    const encoded = claimExtensions(said);
    const shown = execFileSync("openssl", ["x509", "-inform", "der", "-text", "-noout"], {
      input: leaf(encoded),
    }).toString();
    const lines = shown.split("\n").map((line) => line.trim());
    for (const [id, der] of encoded) {
      const at = lines.indexOf(`${id}:`);
      expect([id, at]).not.toEqual([id, -1]);
      // Of tag and length openssl shows what can be shown.
      const value = toUtf8(der.subarray(der.length < 130 ? 2 : 3));
      expect([id, lines[at + 1]?.endsWith(value)]).toEqual([id, true]);
    }
  }
});
