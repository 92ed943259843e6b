import { constants, sign } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { generateEcKey, type KeyPair } from "../../pki/keys.ts";
import type { EvidenceCode } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import { amdSigner, ARK_EXTENSIONS, ASK_EXTENSIONS, type Signer } from "../simulated/certificates.ts";
import { MACHINE_TCB } from "../simulated/machine.ts";
import { testRsaKey } from "../test-keys.ts";
import { refusal } from "../test-refusal.ts";
import { OID } from "../x509.ts";
import { AMD_OID } from "./certificate.ts";
import { PSS_SHA384 } from "./pss.ts";
import { AMD_ROOTS, simulatedRoots } from "./roots.ts";
import { encodeTcb, parseTcb } from "./tcb.ts";
import {
  asVendorRoot,
  CHIP_ID,
  createTestVendor,
  makeEvidence,
  NOW,
  type Scenario,
  type TestVendor,
  TURIN_TCB,
  vcek,
} from "./test-vendor.ts";
import { type SnpVerifyOptions, type VerifiedSnpReport, verifySnp } from "./verify.ts";

let vendor: TestVendor;
let other: KeyPair;
let small: KeyPair;
let elliptic: KeyPair;
let options: SnpVerifyOptions;

beforeAll(async () => {
  [vendor, other, small, elliptic] = await Promise.all([
    createTestVendor(),
    testRsaKey(4096, "other"),
    testRsaKey(2048, "small"),
    generateEcKey("P-256"),
  ]);
  options = { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW };
});

function verify(scenario: Scenario, changes: Partial<SnpVerifyOptions> = {}): VerifiedSnpReport {
  return verifySnp(makeEvidence(vendor, scenario), { ...options, ...changes });
}

describe("what is right is verified", () => {
  test.each(["Milan", "Genoa", "Turin"] as const)("a report of %s signed by a VCEK", (product) => {
    const verified = verify({ product });
    expect(verified.product).toBe(product);
    expect(verified.signingKey).toBe("vcek");
    expect(verified.root).toEqual({ spkiDigest: vendor.rootDigest, simulated: true });
    const want = product === "Turin" ? TURIN_TCB : MACHINE_TCB;
    expect(parseTcb(verified.report.reportedTcb, product, "REPORTED_TCB")).toEqual(want);
  });

  test.each(["Milan", "Genoa", "Turin"] as const)("a report of %s signed by a VLEK", (product) => {
    const verified = verify({ product, kind: "vlek" });
    expect(verified.signingKey).toBe("vlek");
  });

  test("a report of version 2 takes its product from the certificate", () => {
    expect(verify({ product: "Genoa", report: { version: 2, cpuid: undefined } }).product).toBe("Genoa");
  });

  test("a report of version 4 has the layout of version 3", () => {
    expect(verify({ report: { version: 4 } }).report.version).toBe(4);
  });

  test("CURRENT_TCB may be above the certificate's", () => {
    const currentTcb = encodeTcb({ ...MACHINE_TCB, microcode: 220 }, "Milan");
    expect(() => verify({ report: { currentTcb } })).not.toThrow();
  });

  test("bits without a meaning in PLATFORM_INFO and POLICY", () => {
    expect(() => verify({ report: { platformInfo: 1n << 6n, policy: (1n << 40n) | 0x30000n } })).not.toThrow();
  });

  test("a certificate of an earlier TCB beside the right one", async () => {
    const evidence = makeEvidence(vendor);
    const earlier = makeEvidence(
      { ...vendor, endorsement: await generateEcKey("P-384") },
      { leaf: { extensions: vcek("Milan", { [AMD_OID.microcode]: encodeInteger(5) }) } },
    );
    const [first, ...rest] = evidence.certificates;
    const [old] = earlier.certificates;
    const certificates = [old, first, ...rest].filter((certificate) => certificate !== undefined);
    expect(() => verifySnp({ ...evidence, certificates }, options)).not.toThrow();
  });
});

describe("the chain", () => {
  test("a root that is not pinned is refused", () => {
    expect(() => verify({}, { trustAnchors: AMD_ROOTS })).toThrow(refusal("untrusted_root"));
  });

  test("a vendor's root does not vouch for another product", () => {
    const trustAnchors = asVendorRoot(vendor, "Genoa");
    expect(() => verify({ product: "Milan" }, { trustAnchors })).toThrow(refusal("untrusted_root"));
  });

  test("naming AMD's key as simulated does not make it so", () => {
    const [amd = ""] = AMD_ROOTS.keys();
    expect([...simulatedRoots([amd])]).toEqual([]);
  });

  test.each([0, 1, 2])("every certificate is needed (without number %i)", (missing) => {
    const evidence = makeEvidence(vendor);
    const certificates = evidence.certificates.filter((_, index) => index !== missing);
    expect(() => verifySnp({ ...evidence, certificates }, options)).toThrow(refusal("certificate_missing"));
  });

  test("an ASK that the root did not sign is refused", () => {
    const swapped = { publicKey: other.publicKey };
    const scenario = { ask: swapped, askSigner: amdSigner(other.privateKey), leafSigner: amdSigner(other.privateKey) };
    expect(() => verify(scenario)).toThrow(refusal("chain_signature", "SEV-Milan"));
  });

  test("a VCEK that the ASK did not sign is refused", () => {
    expect(() => verify({ leafSigner: amdSigner(other.privateKey) })).toThrow(refusal("chain_signature", "SEV-VCEK"));
  });

  test("a VCEK that the root signed itself is refused", () => {
    const scenario = { leaf: { issuer: "ARK-Milan" }, leafSigner: amdSigner(vendor.ark.privateKey) };
    expect(() => verify(scenario)).toThrow(refusal("chain_signature", "SEV-VCEK"));
  });

  test("a VCEK that names another issuer than the one that signed is refused", () => {
    expect(() => verify({ leaf: { issuer: "SEV-Genoa" } })).toThrow(refusal("chain_signature", "SEV-VCEK"));
  });

  test("a root that did not sign itself is refused, though its key is pinned", () => {
    expect(() => verify({ arkSigner: amdSigner(other.privateKey) })).toThrow(refusal("chain_signature", "ARK-Milan"));
  });

  test("a VCEK below the CA for VLEKs is refused", () => {
    const scenario = { ask: { subject: "SEV-VLEK-Milan" }, leaf: { issuer: "SEV-VLEK-Milan" } };
    expect(() => verify(scenario)).toThrow(refusal("certificate_missing"));
  });

  test.each([
    ["leaf", "SEV-VCEK"],
    ["ask", "SEV-Milan"],
    ["ark", "ARK-Milan"],
  ] as const)("the %s must be valid at the time of verification", (place, name) => {
    const expired = { [place]: { notAfter: new Date(NOW.getTime() - 1000) } };
    const early = { [place]: { notBefore: new Date(NOW.getTime() + 1000) } };
    expect(() => verify(expired)).toThrow(refusal("certificate_expired", name));
    expect(() => verify(early)).toThrow(refusal("certificate_expired", name));
    expect(() => verify({ [place]: { notBefore: NOW, notAfter: NOW } })).not.toThrow();
  });

  test("a time that is none is refused", () => {
    expect(() => verify({}, { at: new Date(Number.NaN) })).toThrow(refusal("certificate_expired"));
  });

  test.each([
    ["no CA", encodeSequence(), encodeBitString(Buffer.of(0x04), 2)],
    ["no keyCertSign", encodeSequence(encodeDer(TAG.boolean, Buffer.of(0xff))), encodeBitString(Buffer.of(0x80), 7)],
  ])("an ASK that is %s is refused", (_, basicConstraints, keyUsage) => {
    const extensions = new Map([
      [OID.basicConstraints, { critical: true, value: basicConstraints }],
      [OID.keyUsage, { critical: true, value: keyUsage }],
    ]);
    expect(() => verify({ ask: { extensions } })).toThrow(refusal("malformed_certificate"));
  });

  test.each([
    ["ark", ARK_EXTENSIONS],
    ["ask", ASK_EXTENSIONS],
    ["leaf", vcek("Milan")],
  ] as const)("a critical extension that is not understood makes the %s unusable", (place, known) => {
    const nameConstraints = ["2.5.29.30", { critical: true, value: encodeSequence() }] as const;
    expect(() => verify({ [place]: { extensions: new Map([...known, nameConstraints]) } })).toThrow(
      refusal("malformed_certificate"),
    );
  });

  test("more certificates than a chain needs are refused", () => {
    const evidence = makeEvidence(vendor);
    const certificates = Array.from({ length: 5 }, () => evidence.certificates).flat();
    expect(() => verifySnp({ ...evidence, certificates }, options)).toThrow(refusal("malformed_certificate"));
  });
});

describe("signature algorithms that AMD does not use are refused", () => {
  const pss = (digest: string, parameters: Uint8Array): ((key: KeyPair, saltLength: number) => Signer) => {
    return ({ privateKey: key }, saltLength) => {
      const padding = constants.RSA_PKCS1_PSS_PADDING;
      return { algorithm: parameters, sign: (tbs) => sign(digest, tbs, { key, padding, saltLength }) };
    };
  };
  /** AMD's parameters with one byte of them replaced. */
  const changed = (from: string, to: string): Uint8Array => Buffer.from(toHex(PSS_SHA384).replaceAll(from, to), "hex");
  const salt32 = changed("a203020130", "a203020120");
  const sha256 = changed("0609608648016503040202", "0609608648016503040201");
  const pkcs1 = encodeSequence(encodeOid("1.2.840.113549.1.1.12"), encodeDer(TAG.null));
  const cases: readonly (readonly [string, (key: KeyPair) => Signer, EvidenceCode])[] = [
    [
      "PKCS#1 v1.5",
      ({ privateKey }) => ({ algorithm: pkcs1, sign: (tbs) => sign("sha384", tbs, privateKey) }),
      "certificate_algorithm",
    ],
    ["SHA-256", (key) => pss("sha256", sha256)(key, 48), "certificate_algorithm"],
    ["a salt of 32", (key) => pss("sha384", salt32)(key, 32), "certificate_algorithm"],
    [
      "PKCS#1 v1.5 that says PSS",
      ({ privateKey }) => ({ algorithm: PSS_SHA384, sign: (tbs) => sign("sha384", tbs, privateKey) }),
      "chain_signature",
    ],
    ["SHA-256 that says SHA-384", (key) => pss("sha256", PSS_SHA384)(key, 48), "chain_signature"],
    ["a salt of 32 that says 48", (key) => pss("sha384", PSS_SHA384)(key, 32), "chain_signature"],
  ];

  test.each(cases)("%s", (_, signer, code) => {
    expect(() => verify({ leafSigner: signer(vendor.ask) })).toThrow(refusal(code));
    expect(() => verify({ askSigner: signer(vendor.ark) })).toThrow(refusal(code));
    expect(() => verify({ arkSigner: signer(vendor.ark) })).toThrow(refusal(code));
  });

  test("an ASK with a key of another length", () => {
    const scenario = { ask: { publicKey: small.publicKey }, leafSigner: amdSigner(small.privateKey) };
    expect(() => verify(scenario)).toThrow(refusal("certificate_algorithm"));
  });

  test("a VCEK with a key on another curve", () => {
    expect(() => verify({ leaf: { publicKey: elliptic.publicKey } })).toThrow(refusal("certificate_algorithm"));
  });
});

describe("the certificate must be the report's", () => {
  test("a report that another key signed is refused", async () => {
    const { publicKey } = await generateEcKey("P-384");
    expect(() => verify({ leaf: { publicKey } })).toThrow(refusal("report_signature"));
  });

  test("a report that says VLEK is refused with a VCEK, and the other way round", () => {
    expect(() => verify({ report: { signingKey: "vlek" } })).toThrow(refusal("signing_key_mismatch"));
    expect(() => verify({ kind: "vlek", report: { signingKey: "vcek" } })).toThrow(refusal("signing_key_mismatch"));
  });

  test("a report that nobody signed is refused", () => {
    expect(() => verify({ report: { signingKey: "none" } })).toThrow(refusal("signing_key_mismatch"));
  });

  test("the certificate of another chip is refused", () => {
    const chipId = Buffer.from(CHIP_ID).fill(0, 63);
    expect(() => verify({ report: { chipId } })).toThrow(refusal("chip_id_mismatch", "CHIP_ID"));
    expect(() => verify({ report: { chipId: Buffer.alloc(64), maskChipKey: true } })).toThrow(
      refusal("chip_id_mismatch"),
    );
  });

  test("on Turin, CHIP_ID is the short HWID and zeros", () => {
    const chipId = Buffer.from(CHIP_ID.subarray(0, 8));
    const tail = Buffer.concat([chipId, Buffer.of(1)], 64);
    expect(() => verify({ product: "Turin", report: { chipId: tail } })).toThrow(refusal("chip_id_mismatch"));
    expect(() => verify({ product: "Turin", report: { chipId: CHIP_ID } })).toThrow(refusal("chip_id_mismatch"));
  });

  test("a VLEK's report with a CHIP_ID is refused", () => {
    expect(() => verify({ kind: "vlek", report: { chipId: CHIP_ID } })).toThrow(refusal("chip_id_mismatch"));
  });

  test.each(["bootloader", "tee", "snp", "microcode"] as const)(
    "REPORTED_TCB must equal the certificate's in %s",
    (part) => {
      for (const difference of [-1, 1]) {
        const reported = { ...MACHINE_TCB, [part]: Math.abs(MACHINE_TCB[part] + difference) };
        expect(() => verify({ report: { reportedTcb: encodeTcb(reported, "Milan") } })).toThrow(
          refusal("tcb_mismatch", `REPORTED_TCB.${part}`),
        );
      }
    },
  );

  test("REPORTED_TCB must equal the certificate's in FMC on Turin", () => {
    const reportedTcb = encodeTcb({ ...TURIN_TCB, fmc: 2 }, "Turin");
    expect(() => verify({ product: "Turin", report: { reportedTcb } })).toThrow(
      refusal("tcb_mismatch", "REPORTED_TCB.fmc"),
    );
  });

  test("CURRENT_TCB must not be below the certificate's", () => {
    const currentTcb = encodeTcb({ ...MACHINE_TCB, snp: MACHINE_TCB.snp - 1 }, "Milan");
    expect(() => verify({ report: { currentTcb } })).toThrow(refusal("tcb_mismatch", "CURRENT_TCB.snp"));
  });

  test("COMMITTED_TCB must not be above CURRENT_TCB", () => {
    const committedTcb = encodeTcb({ ...MACHINE_TCB, microcode: MACHINE_TCB.microcode + 1 }, "Milan");
    expect(() => verify({ report: { committedTcb } })).toThrow(refusal("tcb_mismatch", "COMMITTED_TCB.microcode"));
  });

  test.each([
    { major: 2, minor: 0, build: 0 },
    { major: 1, minor: 56, build: 0 },
    { major: 1, minor: 55, build: 30 },
  ])("the committed version must not be above the current one: %j", (committedVersion) => {
    const currentVersion = { major: 1, minor: 55, build: 29 };
    const report = { committedVersion, currentVersion };
    expect(() => verify({ report })).toThrow(refusal("tcb_mismatch", "COMMITTED version"));
    expect(() =>
      verify({ report: { committedVersion: currentVersion, currentVersion: committedVersion } }),
    ).not.toThrow();
  });

  test("a reserved part of a TCB must be zero", () => {
    const reportedTcb = encodeTcb(MACHINE_TCB, "Milan") | (1n << 16n);
    expect(() => verify({ report: { reportedTcb } })).toThrow(refusal("malformed_report", "REPORTED_TCB, byte 2"));
  });

  test.each([
    ["of another product", { family: 0x19, model: 0x11, stepping: 1 }],
    ["that is not known", { family: 0x1c, model: 0x01, stepping: 1 }],
  ])("a CPU %s is refused", (_, cpuid) => {
    expect(() => verify({ report: { cpuid } })).toThrow(refusal("product_mismatch"));
  });
});

describe("AMD's extensions", () => {
  const integer = (value: number): Uint8Array => encodeInteger(value);
  const cspId = (value: Uint8Array) => ({ [AMD_OID.hwid]: undefined, [AMD_OID.cspId]: value });
  test.each([
    ["an unknown struct version", "Milan", AMD_OID.structVersion, integer(2)],
    ["an unknown product", "Milan", AMD_OID.productName, encodeDer(TAG.ia5String, Buffer.from("Rome"))],
    ["a product that is no IA5String", "Milan", AMD_OID.productName, encodeDer(TAG.utf8String, Buffer.from("Milan"))],
    ["no product", "Milan", AMD_OID.productName, undefined],
    ["no bootloader version", "Milan", AMD_OID.bootloader, undefined],
    ["no microcode version", "Milan", AMD_OID.microcode, undefined],
    ["a version above 255", "Milan", AMD_OID.snp, integer(256)],
    ["a negative version", "Milan", AMD_OID.snp, encodeDer(TAG.integer, Buffer.of(0xff))],
    ["bytes behind a version", "Milan", AMD_OID.snp, Buffer.concat([integer(24), Buffer.of(0)])],
    ["a reserved version that is not zero", "Milan", AMD_OID.reserved[0], integer(1)],
    ["an FMC version on Milan", "Milan", AMD_OID.fmc, integer(0)],
    ["no FMC version on Turin", "Turin", AMD_OID.fmc, undefined],
    ["a HWID with a DER tag", "Milan", AMD_OID.hwid, encodeDer(TAG.octetString, CHIP_ID)],
    ["a long HWID on Turin", "Turin", AMD_OID.hwid, CHIP_ID],
    ["no HWID", "Milan", AMD_OID.hwid, undefined],
    ["a CSP_ID", "Milan", AMD_OID.cspId, encodeDer(TAG.ia5String, Buffer.from("cloud"))],
  ] as const)("a VCEK with %s is refused", (_, product, id, value) => {
    const extensions = vcek(product, { [id]: value });
    expect(() => verify({ product, leaf: { extensions } })).toThrow(refusal("malformed_certificate"));
  });

  test.each([
    ["a HWID", { [AMD_OID.hwid]: CHIP_ID, [AMD_OID.cspId]: encodeDer(TAG.ia5String, Buffer.from("cloud")) }],
    ["no CSP_ID", { [AMD_OID.hwid]: undefined }],
    ["an empty CSP_ID", cspId(encodeDer(TAG.ia5String, Buffer.of()))],
    ["a CSP_ID with a line end", cspId(encodeDer(TAG.ia5String, Buffer.from("cloud\n")))],
    ["a CSP_ID that is no IA5String", cspId(encodeDer(TAG.utf8String, Buffer.from("cloud")))],
    ["a CSP_ID of 256 characters", cspId(encodeDer(TAG.ia5String, Buffer.alloc(256, "c")))],
    ["bytes behind the CSP_ID", cspId(Buffer.concat([encodeDer(TAG.ia5String, Buffer.from("cloud")), Buffer.of(0)]))],
  ])("a VLEK with %s is refused", (_, changes) => {
    const extensions = vcek("Milan", changes);
    expect(() => verify({ kind: "vlek", leaf: { extensions } })).toThrow(refusal("malformed_certificate"));
  });
});

describe("certificates are parsed to the last byte", () => {
  const change = (evidence: SnpEvidence, edit: (leaf: Uint8Array) => Uint8Array): SnpEvidence => {
    const [leaf = Buffer.alloc(0), ...rest] = evidence.certificates;
    return { ...evidence, certificates: [edit(Buffer.from(leaf)), ...rest] };
  };

  test.each([
    ["a byte behind it", (leaf: Uint8Array) => Buffer.concat([leaf, Buffer.of(0)])],
    ["a byte missing", (leaf: Uint8Array) => leaf.subarray(0, -1)],
    ["nothing in it", () => Buffer.alloc(0)],
  ])("one with %s is refused", (_, edit) => {
    const evidence = change(makeEvidence(vendor), edit);
    expect(() => verifySnp(evidence, options)).toThrow(refusal("malformed_certificate"));
  });
});
