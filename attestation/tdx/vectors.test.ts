import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isEqual, toHex, toUtf8 } from "../../bytes/encode.ts";
import { u64le } from "../../bytes/numbers.ts";
import type { EvidenceCode } from "../error.ts";
import type { TdxEvidence } from "../evidence.ts";
import { parsePemCertificates } from "../pem.ts";
import { policyHash } from "../policy-hash.ts";
import { TDX_CLAIM_EXTENSIONS, tdxClaims } from "./claims.ts";
import { parsePck } from "./pck.ts";
import { encodeTdxQuote, parseTdxQuote } from "./quote.ts";
import { INTEL_ROOTS } from "./roots.ts";
import { parseTdReport } from "./tdreport.ts";
import { type TdxReferenceValues, validateTdx } from "./validate.ts";
import { type TdxVerifyOptions, type VerifiedTdxQuote, verifyTdx } from "./verify.ts";

/** Recorded evidence with expected results. It lies beside the checkout, not in it. */
const VECTORS = join(import.meta.dirname, "../../../shared/vectors");

interface Vector {
  readonly id: string;
  readonly kind: string;
  readonly files: Readonly<Record<string, { readonly file: string }>>;
  readonly expected: {
    readonly result: "accept" | "reject" | "parse-only";
    readonly tcb_status?: string;
    readonly layer?: string;
  };
  readonly root: string;
  readonly time: string;
}

/** The code and the place for each vector that `verifyTdx` has to refuse. */
const REFUSALS: Readonly<Record<string, readonly [EvidenceCode, string]>> = {
  "neg-tdx-flip-reportdata": ["report_signature", "quote signature"],
  "neg-tdx-tcbinfo-edited": ["collateral_signature", "TCB info, signature"],
  "neg-tdx-collateral-expired": ["collateral_expired", "TCB info"],
  "syn-neg-tdx-pck-revoked": ["certificate_revoked", "Intel SGX PCK Certificate"],
  "tdx-v4-google-spr": ["no_tcb_level", "PCK TCB components, PCESVN and TEE_TCB_SVN"],
};

const available = existsSync(join(VECTORS, "index.json"));
const all = available ? (JSON.parse(toUtf8(read("index.json"))) as { vectors: readonly Vector[] }).vectors : [];
const vectors = all.filter(({ kind }) => kind === "tdx-quote");

if (!available) test.skip("recorded TDX evidence: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded TDX evidence", () => {
  test.each(vectors.filter(({ expected }) => expected.result === "accept"))(
    "$id is verified and validated",
    (vector) => {
      const verified = verifyTdx(evidenceOf(vector), optionsOf(vector));
      expect(verified.tcbStatus).toBe(vector.expected.tcb_status);
      expect(() => validateTdx(verified, ownValues(verified))).not.toThrow();
    },
  );

  test.each(vectors.filter(({ id }) => id in REFUSALS))("$id is refused", (vector) => {
    expect(vector.expected.result).toBe("reject");
    const [code, where] = REFUSALS[vector.id] ?? [];
    expect(() => verifyTdx(evidenceOf(vector), optionsOf(vector))).toThrow(expect.objectContaining({ code, where }));
  });

  test.each(vectors.filter(({ id, expected }) => expected.result === "reject" && !(id in REFUSALS)))(
    "$id is verified, and refused for its TCB status unless that is allowed",
    (vector) => {
      const verified = verifyTdx(evidenceOf(vector), optionsOf(vector));
      expect(vector.expected.layer).toBe("tcb-status");
      expect(verified.tcbStatus).toBe(vector.expected.tcb_status);
      expect(verified.advisories).not.toEqual([]);
      const reference = ownValues(verified);
      expect(() => validateTdx(verified, reference)).toThrow(expect.objectContaining({ code: "tcb_status" }));
      const allowedTcbStatuses = [verified.tcbStatus];
      expect(() => validateTdx(verified, { ...reference, allowedTcbStatuses })).not.toThrow();
    },
  );

  test.each(vectors.filter(isSynthetic))("$id is refused under Intel's root", (vector) => {
    const options = { ...optionsOf(vector), trustAnchors: INTEL_ROOTS };
    expect(() => verifyTdx(evidenceOf(vector), options)).toThrow(expect.objectContaining({ code: "untrusted_root" }));
  });

  test.each(vectors.filter(({ id }) => existsSync(join(VECTORS, id, "parsed.json"))))(
    "$id parses to its golden fields and encodes to the same bytes",
    (vector) => {
      const { quote } = evidenceOf(vector);
      const golden: unknown = JSON.parse(toUtf8(read(`${vector.id}/parsed.json`)));
      expect(golden).toMatchObject(goldenOf(quote));
      expect(isEqual(encodeTdxQuote(parseTdxQuote(quote)), quote)).toBe(true);
    },
  );

  test.each(vectors.filter(({ id }) => !(id in REFUSALS) && existsSync(join(VECTORS, id, "parsed.json"))))(
    "$id: its claims are its golden fields",
    (vector) => {
      const golden = JSON.parse(toUtf8(read(`${vector.id}/parsed.json`))) as Golden;
      const claims = tdxClaims(verifyTdx(evidenceOf(vector), optionsOf(vector)));
      expect(claims).toMatchObject(expectedClaims(golden, vector));
      expect(Object.keys(claims).toSorted()).toEqual(Object.keys(TDX_CLAIM_EXTENSIONS.forms).toSorted());
    },
  );

  test("zero bytes behind a quote are allowed, others are not", () => {
    const vector = find("tdx-v5-google");
    const { quote, ...evidence } = evidenceOf(vector);
    const padded = Buffer.concat([quote], 8000);
    expect(verifyTdx({ ...evidence, quote: padded }, optionsOf(vector)).quote.padding).toBe(8000 - quote.length);
    padded.writeUInt8(1, 7999);
    expect(() => verifyTdx({ ...evidence, quote: padded }, optionsOf(vector))).toThrow(
      expect.objectContaining({ code: "malformed_report" }),
    );
  });

  test("collateral of another family of platforms is refused", () => {
    const vector = find("tdx-v4-dcapqvl");
    const { collateral } = evidenceOf(find("tdx-v5-google"));
    const at = new Date("2026-02-25T00:00:00Z");
    expect(() => verifyTdx(evidenceOf(vector), { ...optionsOf(vector), collateral, at })).toThrow(
      expect.objectContaining({ code: "fmspc_mismatch" }),
    );
  });

  test("a real machine is known by its PIID, and is asked for what its certificate says", () => {
    const vector = find("tdx-v5-google");
    const verified = verifyTdx(evidenceOf(vector), optionsOf(vector));
    const allowedPiids = [Buffer.from("056d0350250988808a9d09103f3e54d5", "hex")];
    const reference = { ...ownValues(verified), minimumTcbEvaluationDataNumber: 18, mrServiceTd: Buffer.alloc(48) };
    expect(() => validateTdx(verified, { ...reference, allowedPiids })).not.toThrow();
    for (const [code, asked] of [
      ["piid_not_allowed", { allowedPiids: [Buffer.alloc(16)] }],
      ["memory_integrity_missing", { memoryIntegrity: true }],
      ["smt_enabled", { smtDisabled: true }],
      ["dynamic_platform", { staticPlatform: true }],
      ["tcb_evaluation_too_old", { minimumTcbEvaluationDataNumber: 19 }],
      ["td_attributes_mismatch", { tdAttributes: Buffer.alloc(8) }],
      ["service_td_mismatch", { mrServiceTd: Buffer.alloc(48, 1) }],
    ] as const) {
      expect(() => validateTdx(verified, { ...reference, ...asked })).toThrow(expect.objectContaining({ code }));
    }
  });

  test("the policy hash is the first part of MRCONFIGID", () => {
    const vector = find("syn-tdx-good");
    expect(policyHash(verifyTdx(evidenceOf(vector), optionsOf(vector)))).toBe(
      "ecb3d79a467c08a5bfbb66cd1250d297a22cfda41dee97e67549b973eeabfd15",
    );
  });

  test("the pinned root is Intel's SGX Root CA", () => {
    const root = "roots/intel/Intel_SGX_Provisioning_Certification_RootCA.pem";
    expect([...INTEL_ROOTS]).toEqual([digestOf(root)]);
  });

  test("a TDREPORT is parsed, and refused where its hashes do not match", () => {
    const report = read(all.find(({ kind }) => kind === "tdreport")?.files["tdreport"]?.file ?? "");
    const parsed = parseTdReport(report);
    expect(parsed).toMatchObject({ version: 1, valid: 0x3_01ffn, tdAttributes: 0x1000_0000n });
    expect(toHex(parsed.teeTcbSvn)).toBe("05010200000000000000000000000000");
    expect(toHex(parsed.mrTd.subarray(0, 4))).toBe("98bbc39e");
    expect(parsed.rtmrs.map((rtmr) => toHex(rtmr.subarray(0, 4)))).toEqual([
      "f4ec1a04",
      "4e5f8826",
      "00000000",
      "00000000",
    ]);
    for (const offset of [0x04, 0x20, 0x50, 0x103, 0x210, 0x3ff]) {
      const changed = Buffer.from(report);
      changed.writeUInt8(changed.readUInt8(offset) ^ 1, offset);
      expect(() => parseTdReport(changed)).toThrow(expect.objectContaining({ code: "malformed_report" }));
    }
  });
});

function evidenceOf({ files }: Vector): TdxEvidence {
  const file = (name: string): Uint8Array => read(files[name]?.file ?? "");
  return {
    kind: "tdx",
    quote: file("quote"),
    collateral: {
      tcbInfo: file("tcb_info"),
      qeIdentity: file("qe_identity"),
      signingChain: file("tcb_signing_chain"),
      pckCrl: file("pck_crl"),
      rootCrl: file("root_ca_crl"),
    },
  };
}

function optionsOf(vector: Vector): TdxVerifyOptions {
  const trustAnchors = isSynthetic(vector) ? new Set([digestOf(vector.root)]) : INTEL_ROOTS;
  return { trustAnchors, at: new Date(vector.time) };
}

function isSynthetic({ root }: Vector): boolean {
  return root.startsWith("roots/synthetic/");
}

/** The reference values that the quote itself satisfies. */
function ownValues({ quote: { body } }: VerifiedTdxQuote): TdxReferenceValues {
  const { mrTd, mrSeam, rtmrs, xfam, teeTcbSvn: minimumTeeTcbSvn } = body;
  return { mrTd, mrSeam, rtmrs, xfam, minimumTeeTcbSvn };
}

function digestOf(pem: string): string {
  const spki = createPublicKey(read(pem)).export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest("hex");
}

/** A quote in the form of the golden fields. */
function goldenOf(bytes: Uint8Array): object {
  const quote = parseTdxQuote(bytes);
  const { body, qeReport } = quote;
  const hex = (value: Uint8Array): string => toHex(value);
  const pem = quote.certificateChain;
  const [leaf] = parsePemCertificates(pem, "chain");
  if (leaf === undefined) throw new Error("no certificate");
  const pck = parsePck(leaf);
  const x509 = new X509Certificate(pem);
  return {
    version: quote.version,
    teeType: 0x81,
    body: {
      teeTcbSvn: hex(body.teeTcbSvn),
      mrSeam: hex(body.mrSeam),
      mrSignerSeam: hex(body.mrSignerSeam),
      seamAttr: hex(body.seamAttributes),
      tdAttr: hex(u64le(body.tdAttributes)),
      xfam: hex(body.xfam),
      mrTd: hex(body.mrTd),
      mrConfigId: hex(body.mrConfigId),
      mrOwner: hex(body.mrOwner),
      mrOwnerConfig: hex(body.mrOwnerConfig),
      rtmr: body.rtmrs.map(hex),
      reportData: hex(body.reportData),
      ...(body.tdx15 && { teeTcbSvn2: hex(body.tdx15.teeTcbSvn2), mrServiceTd: hex(body.tdx15.mrServiceTd) }),
    },
    qeReport: {
      cpuSvn: hex(qeReport.cpuSvn),
      miscSelect: hex(qeReport.miscSelect),
      attributes: hex(qeReport.attributes),
      mrEnclave: hex(qeReport.mrEnclave),
      mrSigner: hex(qeReport.mrSigner),
      isvProdId: qeReport.isvProdId,
      isvSvn: qeReport.isvSvn,
      reportData: hex(qeReport.reportData),
    },
    pck: {
      ppid: hex(pck.ppid),
      comp: pck.components,
      pcesvn: pck.pceSvn,
      cpusvn: hex(pck.cpuSvn),
      pceid: hex(pck.pceId),
      fmspc: hex(pck.fmspc),
      serial: x509.serialNumber,
      ca: /CN=(.*)/.exec(x509.issuer)?.[1],
      notBefore: x509.validFrom,
      notAfter: x509.validTo,
    },
    trailing: quote.padding,
  };
}

interface Golden {
  readonly version: number;
  readonly body: Readonly<Record<string, string>> & { readonly rtmr: readonly string[] };
  readonly qeReport: Readonly<Record<string, string | number>>;
  readonly pck: Readonly<Record<string, unknown>> & { readonly comp: readonly number[] };
}

function expectedClaims({ version, body, qeReport, pck }: Golden, vector: Vector): object {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr;
  const { cpuSvn, miscSelect, attributes, mrEnclave, mrSigner, isvProdId, isvSvn } = qeReport;
  return {
    tee: "tdx",
    insecure: false,
    quoteVersion: version,
    tcbStatus: vector.expected.tcb_status,
    // The lowest byte is the group TUD.
    debug: body["tdAttr"]?.startsWith("00") === false,
    mrTd: body["mrTd"],
    mrSeam: body["mrSeam"],
    mrSignerSeam: body["mrSignerSeam"],
    seamAttributes: body["seamAttr"],
    tdAttributes: body["tdAttr"],
    xfam: body["xfam"],
    mrConfigId: body["mrConfigId"],
    mrOwner: body["mrOwner"],
    mrOwnerConfig: body["mrOwnerConfig"],
    rtmr0,
    rtmr1,
    rtmr2,
    rtmr3,
    reportData: body["reportData"],
    teeTcbSvn: body["teeTcbSvn"],
    teeTcbSvn2: body["teeTcbSvn2"],
    mrServiceTd: body["mrServiceTd"],
    qeCpuSvn: cpuSvn,
    qeMiscSelect: miscSelect,
    qeAttributes: attributes,
    qeMrEnclave: mrEnclave,
    qeMrSigner: mrSigner,
    qeIsvProdId: isvProdId,
    qeIsvSvn: isvSvn,
    fmspc: pck["fmspc"],
    ppid: pck["ppid"],
    piid: pck["piid"] ?? "",
    pceId: pck["pceid"],
    pceSvn: pck["pcesvn"],
    cpuSvn: pck["cpusvn"],
    tcbComponents: Buffer.from(pck.comp).toString("hex"),
    sgxType: ["Standard", "Scalable", "ScalableWithIntegrity"][pck["sgxType"] as number],
    ...Object.fromEntries(
      [
        ["dyn", "dynamicPlatform"],
        ["cachedKeys", "cachedKeys"],
        ["smt", "smtEnabled"],
      ].map(([field = "", name]) => [name, pck[field] === undefined ? undefined : pck[field] === "ff"]),
    ),
  };
}

function find(id: string): Vector {
  const vector = vectors.find((candidate) => candidate.id === id);
  if (vector === undefined) throw new Error(`no vector ${id}`);
  return vector;
}

function read(file: string): Uint8Array {
  return readFileSync(join(VECTORS, file));
}
