import { beforeAll, expect, test } from "vitest";
import { encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { amdSigner, encodeName, encodeSigned, type Signer } from "../simulated/certificates.ts";
import { OID } from "../x509.ts";
import { refusal } from "../test-refusal.ts";
import { simulatedRoots } from "./roots.ts";
import { createTestVendor, makeEvidence, NOW, type Scenario, type TestVendor } from "./test-vendor.ts";
import { verifySnp } from "./verify.ts";

let vendor: TestVendor;
let signer: Signer;

beforeAll(async () => {
  vendor = await createTestVendor();
  signer = amdSigner(vendor.ark.privateKey);
});

interface List {
  readonly version?: number;
  readonly issuer?: string;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  readonly entries?: readonly Uint8Array[];
  readonly extensions?: readonly Uint8Array[];
  readonly signer?: Signer;
}

const [EARLIER, LATER] = [new Date("2026-05-01T00:00:00Z"), new Date("2026-07-01T00:00:00Z")];

function makeList(list: List): Uint8Array {
  const { entries = [], extensions = [], signer: by = signer } = list;
  return encodeSigned(by, [
    encodeInteger(list.version ?? 1),
    by.algorithm,
    encodeName(list.issuer ?? "ARK-Milan"),
    encodeTime(list.thisUpdate ?? EARLIER),
    encodeTime(list.nextUpdate ?? LATER),
    ...(entries.length > 0 ? [encodeSequence(...entries)] : []),
    ...(extensions.length > 0 ? [encodeDer(TAG.context(0), encodeSequence(...extensions))] : []),
  ]);
}

function revoked(serial: number, ...extensions: readonly Uint8Array[]): Uint8Array {
  const more = extensions.length > 0 ? [encodeSequence(...extensions)] : [];
  return encodeSequence(encodeInteger(serial), encodeTime(EARLIER), ...more);
}

function extension(id: string, critical: boolean): Uint8Array {
  const flag = critical ? [encodeDer(TAG.boolean, Buffer.of(0xff))] : [];
  return encodeSequence(encodeOid(id), ...flag, encodeDer(TAG.octetString, encodeInteger(1)));
}

function verify(crl: Uint8Array, scenario: Scenario = {}): unknown {
  const trustAnchors = simulatedRoots([vendor.rootDigest]);
  return verifySnp(makeEvidence(vendor, scenario), { trustAnchors, at: NOW, crl });
}

test("a chain whose certificates are not on the list is verified", () => {
  expect(() => verify(makeList({}))).not.toThrow();
  const crlNumber = extension("2.5.29.20", false);
  expect(() => verify(makeList({ entries: [revoked(0x20001, crlNumber)], extensions: [crlNumber] }))).not.toThrow();
});

test("an ASK on the list is refused", () => {
  expect(() => verify(makeList({ entries: [revoked(7), revoked(0x10001)] }))).toThrow(refusal("certificate_revoked"));
});

test("a VCEK's serial number, which is its issuer's, is not looked up in the root's list", () => {
  expect(() => verify(makeList({ entries: [revoked(0)] }))).not.toThrow();
});

test("a list is good from thisUpdate to nextUpdate", () => {
  expect(() => verify(makeList({ thisUpdate: NOW, nextUpdate: NOW }))).not.toThrow();
  expect(() => verify(makeList({ nextUpdate: new Date(NOW.getTime() - 1000) }))).toThrow(refusal("crl_expired"));
  expect(() => verify(makeList({ thisUpdate: new Date(NOW.getTime() + 1000) }))).toThrow(refusal("crl_expired"));
});

test("a list that the root did not issue is refused", () => {
  expect(() => verify(makeList({ issuer: "SEV-Milan" }))).toThrow(refusal("malformed_crl"));
  expect(() => verify(makeList({ signer: amdSigner(vendor.ask.privateKey) }))).toThrow(refusal("malformed_crl"));
});

test("a list of a root that may not sign lists is refused", () => {
  const keyCertSign = { critical: true, value: Buffer.from("03020204", "hex") };
  const ca = { critical: true, value: Buffer.from("30030101ff", "hex") };
  const extensions = new Map([
    [OID.basicConstraints, ca],
    [OID.keyUsage, keyCertSign],
  ]);
  expect(() => verify(makeList({}), { ark: { extensions } })).toThrow(refusal("malformed_crl"));
});

test("a list signed with another algorithm is refused", () => {
  const algorithm = encodeSequence(encodeOid("1.2.840.113549.1.1.12"), encodeDer(TAG.null));
  expect(() => verify(makeList({ signer: { ...signer, algorithm } }))).toThrow(refusal("certificate_algorithm"));
});

test("a delta list does not pass for a complete one", () => {
  const deltaCrlIndicator = extension("2.5.29.27", true);
  expect(() => verify(makeList({ extensions: [deltaCrlIndicator] }))).toThrow(refusal("malformed_crl"));
});

test("an indirect list does not pass for the root's own", () => {
  const certificateIssuer = extension("2.5.29.29", true);
  expect(() => verify(makeList({ entries: [revoked(7, certificateIssuer)] }))).toThrow(refusal("malformed_crl"));
});

test("what is not a list to the last byte is refused", () => {
  const list = makeList({});
  for (const bytes of [
    Buffer.alloc(0),
    list.subarray(1),
    Buffer.concat([list, Buffer.of(0)]),
    makeList({ version: 0 }),
  ]) {
    expect(() => verify(bytes)).toThrow(refusal("malformed_crl"));
  }
});
