import { createHash, sign } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { toHex, toUtf8 } from "../../bytes/encode.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { generateEcKey, type KeyPair } from "../../pki/keys.ts";
import type { TdxEvidence } from "../evidence.ts";
import { EvidenceCache } from "../evidence-cache.ts";
import { OID } from "../x509.ts";
import { everyBit, expectRefused, oneBitInEveryByte, refusal } from "../test-refusal.ts";
import { encodeEnclaveReport } from "./enclave-report.ts";
import { SGX_OID } from "./pck.ts";
import { encodeTdxQuote, parseTdxQuote } from "./quote.ts";
import { INTEL_ROOTS } from "./roots.ts";
import {
  CA_EXTENSIONS,
  createTestVendor,
  intelSigner,
  makeCollateral,
  makeEvidence,
  NOW,
  pckExtensions,
  platformLevel,
  pointOf,
  type Scenario,
  svn,
  type TestVendor,
} from "./test-vendor.ts";
import { type TdxVerifyOptions, type VerifiedTdxQuote, verifyTdx } from "./verify.ts";

let vendor: TestVendor;
let other: KeyPair;
let p384: KeyPair;
let options: TdxVerifyOptions;

beforeAll(async () => {
  [vendor, other, p384] = await Promise.all([createTestVendor(), generateEcKey("P-256"), generateEcKey("P-384")]);
  options = { trustAnchors: new Set([vendor.rootDigest]), at: NOW };
});

function verify(scenario: Scenario, changes: Partial<TdxVerifyOptions> = {}): VerifiedTdxQuote {
  return verifyTdx(makeEvidence(vendor, scenario), { ...options, ...changes });
}

const PROCESSOR: Scenario = {
  ca: { subject: "Intel SGX PCK Processor CA" },
  pck: { issuer: "Intel SGX PCK Processor CA" },
  pckCrl: { issuer: "Intel SGX PCK Processor CA" },
};

describe("what is right is verified", () => {
  test.each([
    ["version 4", { version: 4 }],
    ["version 5 with a body of TDX 1.5", { version: 5 }],
    ["version 5 with a body of TDX 1.0", { version: 5, body: { tdx15: undefined } }],
    ["module version 0", { body: { teeTcbSvn: svn(5, 0, 4) } }],
    ["a PCK of the Processor CA", PROCESSOR],
  ] as const)("%s", (_, scenario) => {
    const verified = verify(scenario);
    expect(verified).toMatchObject({ kind: "tdx", tcbStatus: "UpToDate", advisories: [] });
    expect(toHex(verified.pck.fmspc)).toBe("90c06f000000");
    expect(verified.pck.pceSvn).toBe(300);
  });

  test("the verifier's own collateral goes before the evidence's", () => {
    const evidence = makeEvidence(vendor, { tcbInfo: { tcbLevels: [platformLevel({}, "OutOfDate")] } });
    expect(verifyTdx(evidence, options).tcbStatus).toBe("OutOfDate");
    expect(verifyTdx(evidence, { ...options, collateral: makeCollateral(vendor) }).tcbStatus).toBe("UpToDate");
  });

  test("certificates in any order, with and without a zero byte behind them", () => {
    const evidence = makeEvidence(vendor);
    const { certificateChain } = parseTdxQuote(evidence.quote);
    const blocks = toUtf8(certificateChain).match(/-----BEGIN[^\0]*?-----END CERTIFICATE-----\n/g) ?? [];
    expect(blocks).toHaveLength(3);
    for (const order of [blocks, blocks.toReversed()]) {
      for (const end of ["", "\0"])
        expect(() => verifyTdx(rechain(evidence, order.join("") + end), options)).not.toThrow();
    }
  });
});

describe("the chain", () => {
  test("a root that is not pinned is refused, though the chain holds it", () => {
    expect(() => verify({}, { trustAnchors: INTEL_ROOTS })).toThrow(
      refusal("untrusted_root", "Intel SGX Root CA, subjectPublicKeyInfo"),
    );
  });

  test.each([0, 1, 2])("every certificate is needed (without number %i)", (missing) => {
    const evidence = makeEvidence(vendor);
    const text = toUtf8(parseTdxQuote(evidence.quote).certificateChain);
    const blocks = text.match(/-----BEGIN[^\0]*?-----END CERTIFICATE-----\n/g) ?? [];
    const chain = blocks.filter((_, index) => index !== missing).join("");
    expect(() => verifyTdx(rechain(evidence, chain), options)).toThrow(refusal("certificate_missing"));
  });

  test("a certificate that another key signed is refused", () => {
    const by = intelSigner(other.privateKey);
    expect(() => verify({ rootSigner: by })).toThrow(refusal("chain_signature", "Intel SGX Root CA"));
    expect(() => verify({ caSigner: by })).toThrow(refusal("chain_signature", "Intel SGX PCK Platform CA"));
    expect(() => verify({ pckSigner: by })).toThrow(refusal("chain_signature", "Intel SGX PCK Certificate"));
    const scenario = { collateral: { signingChain: makeCollateral(vendor, { signerSigner: by }).signingChain } };
    expect(() => verify(scenario)).toThrow(refusal("chain_signature", "Intel SGX TCB Signing"));
  });

  test("a PCK that the root signed itself is refused", () => {
    const scenario = { pck: { issuer: "Intel SGX Root CA" }, pckSigner: intelSigner(vendor.root.privateKey) };
    expect(() => verify(scenario)).toThrow(refusal("chain_signature", "Intel SGX PCK Certificate"));
  });

  test("a TCB signer below another root is refused, though that is pinned, too", async () => {
    const second = await createTestVendor();
    const trustAnchors = new Set([vendor.rootDigest, second.rootDigest]);
    const collateral = makeCollateral(second);
    expect(() => verify({}, { trustAnchors, collateral })).toThrow(refusal("untrusted_root"));
  });

  test.each([
    ["root", "Intel SGX Root CA"],
    ["ca", "Intel SGX PCK Platform CA"],
    ["pck", "Intel SGX PCK Certificate"],
    ["signer", "Intel SGX TCB Signing"],
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

  test("a CA that may not issue certificates is refused", () => {
    const extensions = new Map([[OID.keyUsage, { critical: true, value: encodeBitString(Buffer.of(0x06), 1) }]]);
    expect(() => verify({ ca: { extensions } })).toThrow(
      refusal("malformed_certificate", "Intel SGX PCK Platform CA, basicConstraints and keyUsage"),
    );
  });

  test.each([
    ["root", CA_EXTENSIONS],
    ["ca", CA_EXTENSIONS],
    ["pck", pckExtensions()],
    ["signer", pckExtensions()],
  ] as const)("a critical extension that is not understood makes the %s unusable", (place, known) => {
    const nameConstraints = ["2.5.29.30", { critical: true, value: encodeSequence() }] as const;
    expect(() => verify({ [place]: { extensions: new Map([...known, nameConstraints]) } })).toThrow(
      refusal("malformed_certificate"),
    );
  });

  test("another algorithm than ECDSA with SHA-256, or another curve, is refused", () => {
    const algorithm = encodeSequence(encodeOid("1.2.840.10045.4.3.3"));
    const sha384 = { algorithm, sign: (tbs: Uint8Array) => sign("sha384", tbs, vendor.root.privateKey) };
    expect(() => verify({ caSigner: sha384 })).toThrow(
      refusal("certificate_algorithm", "Intel SGX PCK Platform CA, signatureAlgorithm"),
    );
    for (const place of ["root", "ca", "pck", "signer"] as const) {
      const trustAnchors = new Set([...options.trustAnchors, digestOf(p384)]);
      expect(() => verify({ [place]: { publicKey: p384.publicKey } }, { trustAnchors })).toThrow(
        refusal("certificate_algorithm"),
      );
    }
  });

  test.each([
    ["no PEM", "hello"],
    ["nothing", ""],
    ["only a zero byte", "\0"],
    ["base64 with bits left over", "-----BEGIN CERTIFICATE-----\nAB==\n-----END CERTIFICATE-----\n"],
    ["text between certificates", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n \n"],
    ["13 certificates", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".repeat(13)],
  ])("a chain of %s is refused", (_, text) => {
    expect(() => verifyTdx(rechain(makeEvidence(vendor), text), options)).toThrow(
      refusal("malformed_certificate", "PCK certificate chain"),
    );
  });
});

describe("Intel's extension of a PCK certificate", () => {
  const octets = (length: number): Uint8Array => encodeDer(TAG.octetString, Buffer.alloc(length));
  test.each([
    ["no PPID", { [SGX_OID.ppid]: undefined }],
    ["a short PPID", { [SGX_OID.ppid]: octets(15) }],
    ["no TCB", { [SGX_OID.tcb]: undefined }],
    ["no component 1", { [SGX_OID.components[0] ?? ""]: undefined }],
    ["no component 16", { [SGX_OID.components[15] ?? ""]: undefined }],
    ["a component above 255", { [SGX_OID.components[3] ?? ""]: encodeInteger(256) }],
    ["no PCESVN", { [SGX_OID.pceSvn]: undefined }],
    ["a PCESVN above 65535", { [SGX_OID.pceSvn]: encodeInteger(65536) }],
    ["a negative PCESVN", { [SGX_OID.pceSvn]: encodeDer(TAG.integer, Buffer.of(0x80)) }],
    ["a short CPUSVN", { [SGX_OID.cpuSvn]: octets(15) }],
    ["a long PCEID", { [SGX_OID.pceId]: octets(3) }],
    ["no FMSPC", { [SGX_OID.fmspc]: undefined }],
    ["an FMSPC that is a number", { [SGX_OID.fmspc]: encodeInteger(5) }],
    ["no SGX type", { [SGX_OID.sgxType]: undefined }],
    ["an SGX type that is a number", { [SGX_OID.sgxType]: encodeInteger(1) }],
    ["an SGX type of two bytes", { [SGX_OID.sgxType]: encodeDer(TAG.enumerated, Buffer.of(0, 2)) }],
    ["a short PIID", { [SGX_OID.piid]: octets(15) }],
    ["an empty PIID", { [SGX_OID.piid]: octets(0) }],
    ["a PIID that is a number", { [SGX_OID.piid]: encodeInteger(5) }],
    ["a configuration that is a flag", { [SGX_OID.configuration]: encodeDer(TAG.boolean, Buffer.of(0)) }],
    ["SMT that is a number", { [SGX_OID.smtEnabled]: encodeInteger(0) }],
    ["SMT of another truth", { [SGX_OID.smtEnabled]: encodeDer(TAG.boolean, Buffer.of(1)) }],
    ["bytes behind a value", { [SGX_OID.fmspc]: Buffer.concat([octets(6), Buffer.of(0)]) }],
  ])("one with %s is refused", (_, changes) => {
    expect(() => verify({ pck: { extensions: pckExtensions(changes) } })).toThrow(refusal("malformed_certificate"));
  });

  test("a value that stands twice, or no extension at all, is refused", () => {
    const extensions = pckExtensions();
    const value = extensions.get(SGX_OID.extensions)?.value ?? Buffer.alloc(0);
    const fmspc = encodeSequence(encodeOid(SGX_OID.fmspc), octets(6));
    const content = value.subarray(4);
    const twice = new Map([
      ...extensions,
      [SGX_OID.extensions, { critical: false, value: encodeSequence(content, fmspc) }],
    ]);
    expect(() => verify({ pck: { extensions: twice } })).toThrow(refusal("malformed_certificate", SGX_OID.extensions));
    const none = new Map([...extensions].filter(([id]) => id !== SGX_OID.extensions));
    expect(() => verify({ pck: { extensions: none } })).toThrow(refusal("malformed_certificate", SGX_OID.extensions));
  });
});

describe("each key vouches for the next", () => {
  test("a QE report that the PCK did not sign is refused", () => {
    expect(() => verify({ pck: { publicKey: other.publicKey } })).toThrow(refusal("qe_report_signature"));
  });

  test("an attestation key that the QE report does not name is refused", () => {
    const { quote } = makeEvidence(vendor);
    const changes = { attestationKey: pointOf(other), signature: signQuote(parseTdxQuote(quote).signed, other) };
    expect(() => verify({ quote: changes })).toThrow(refusal("attestation_key_mismatch"));
  });

  test("authentication data that the QE report does not name is refused", () => {
    expect(() => verify({ quote: { authData: Buffer.alloc(32) } })).toThrow(refusal("attestation_key_mismatch"));
    // The two are hashed as one: what moves from one to the other must not matter, for the key has a fixed length.
    expect(() => verify({ quote: { authData: Buffer.alloc(0) } })).toThrow(refusal("attestation_key_mismatch"));
  });

  test("anything behind the hash in the QE report's data is refused", () => {
    const { qeReport } = parseTdxQuote(makeEvidence(vendor).quote);
    const reportData = Buffer.from(qeReport.reportData).fill(1, 63);
    expect(() => verify({ qeReport: { reportData } })).toThrow(refusal("attestation_key_mismatch"));
  });

  test("an attestation key that is not on the curve is refused", () => {
    const attestationKey = Buffer.alloc(64, 1);
    const { authData } = parseTdxQuote(makeEvidence(vendor).quote);
    const digest = createHash("sha256").update(attestationKey).update(authData).digest();
    const scenario = { quote: { attestationKey }, qeReport: { reportData: Buffer.concat([digest], 64) } };
    expect(() => verify(scenario)).toThrow(refusal("malformed_report", "attestation key"));
  });

  test("a quote that another key signed is refused", () => {
    const { signed } = parseTdxQuote(makeEvidence(vendor).quote);
    expect(() => verify({ quote: { signature: signQuote(signed, other) } })).toThrow(refusal("report_signature"));
  });

  test("a QE report that is signed as a quote does not pass for one", () => {
    const { qeReport } = parseTdxQuote(makeEvidence(vendor).quote);
    const signature = signQuote(encodeEnclaveReport(qeReport), vendor.attestation);
    expect(() => verify({ quote: { signature } })).toThrow(refusal("report_signature"));
  });
});

describe("only Intel's software counts", () => {
  test.each([
    ["QE MRSIGNER", { mrSigner: Buffer.alloc(32, 0xdd) }],
    ["QE ISVPRODID", { isvProdId: 1 }],
    ["QE MISCSELECT", { miscSelect: Buffer.of(0, 0, 0, 1) }],
    ["QE ATTRIBUTES", { attributes: Buffer.from("1700000000000000e700000000000000", "hex") }],
  ])("a quoting enclave with another %s is refused", (where, qeReport) => {
    expect(() => verify({ qeReport })).toThrow(refusal("qe_identity_mismatch", where));
  });

  test("bits that the masks leave out do not matter", () => {
    const attributes = Buffer.from("1500000000000000ffffffffffffffff", "hex");
    expect(() => verify({ qeReport: { attributes } })).not.toThrow();
    const qeIdentity = { miscselectMask: "FFFFFF00" };
    expect(() => verify({ qeReport: { miscSelect: Buffer.of(0, 0, 0, 1) }, qeIdentity })).not.toThrow();
  });

  test.each([
    ["MRSIGNERSEAM", { mrSignerSeam: Buffer.alloc(48, 1) }],
    ["SEAMATTRIBUTES", { seamAttributes: Buffer.of(1, 0, 0, 0, 0, 0, 0, 0) }],
  ])("a TDX module with another %s is refused, of version 0 and later", (where, body) => {
    expect(() => verify({ body })).toThrow(refusal("tdx_module_mismatch", where));
    const teeTcbSvn = svn(5, 0, 4);
    expect(() => verify({ body: { ...body, teeTcbSvn } })).toThrow(refusal("tdx_module_mismatch", where));
  });

  test.each([
    ["FMSPC", { fmspc: "90C06F000001" }],
    ["PCEID", { pceId: "0001" }],
  ])("TCB info of another %s is refused", (_, tcbInfo) => {
    expect(() => verify({ tcbInfo })).toThrow(refusal("fmspc_mismatch"));
  });

  test("a platform without a level, or with one that is revoked, is refused", () => {
    expect(() => verify({ tcbInfo: { tcbLevels: [] } })).toThrow(refusal("no_tcb_level"));
    const tcbLevels = [platformLevel({}, "Revoked")];
    expect(() => verify({ tcbInfo: { tcbLevels } })).toThrow(refusal("tcb_revoked"));
  });
});

describe("any bit that is flipped is refused", () => {
  /** What is not flipped is not verified anew each time; that a cache changes no outcome is tested with it. */
  const remembering = (evidence: TdxEvidence): TdxVerifyOptions => {
    const cached = { ...options, cache: new EvidenceCache() };
    verifyTdx(evidence, cached);
    return cached;
  };

  test("every one in header and body", () => {
    const evidence = makeEvidence(vendor, { version: 5 });
    const cached = remembering(evidence);
    const { signed } = parseTdxQuote(evidence.quote);
    expectRefused(evidence.quote, everyBit(signed), (quote) => verifyTdx({ ...evidence, quote }, cached));
  });

  test("one in every byte of a whole quote", () => {
    const evidence = makeEvidence(vendor);
    const cached = remembering(evidence);
    const bits = oneBitInEveryByte(evidence.quote);
    expectRefused(evidence.quote, bits, (quote) => verifyTdx({ ...evidence, quote }, cached));
  });

  test.each(["tcbInfo", "qeIdentity", "signingChain", "pckCrl", "rootCrl"] as const)(
    "one in every byte of %s",
    (part) => {
      const evidence = makeEvidence(vendor);
      const collateral = makeCollateral(vendor);
      const cached = remembering({ ...evidence, collateral });
      expectRefused(collateral[part], oneBitInEveryByte(collateral[part]), (changed) =>
        verifyTdx(evidence, { ...cached, collateral: { ...collateral, [part]: changed } }),
      );
    },
  );
});

function rechain(evidence: TdxEvidence, pem: string): TdxEvidence {
  const quote = encodeTdxQuote({ ...parseTdxQuote(evidence.quote), certificateChain: Buffer.from(pem) });
  return { ...evidence, quote };
}

function signQuote(bytes: Uint8Array, { privateKey: key }: KeyPair): Uint8Array {
  return sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
}

function digestOf({ publicKey }: KeyPair): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}
