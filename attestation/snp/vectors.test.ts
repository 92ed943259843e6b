import { createHash, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isEqual, toHex } from "../../bytes/encode.ts";
import type { SnpEvidence } from "../evidence.ts";
import { snpClaims } from "./claims.ts";
import { encodeSnpReport, parseSnpReport, type SnpReport } from "./report.ts";
import { AMD_ROOTS, simulatedRoots } from "./roots.ts";
import { parseTcb } from "./tcb.ts";
import { validateSnp } from "./validate.ts";
import { verifySnp } from "./verify.ts";

/** Recorded evidence with expected results. It lies beside the checkout, not in it. */
const VECTORS = join(import.meta.dirname, "../../../shared/vectors");

interface Vector {
  readonly id: string;
  readonly kind: string;
  readonly files: Readonly<Record<string, { readonly file: string }>>;
  readonly expected: { readonly result: "accept" | "reject" };
  readonly product: string;
  readonly chain: string;
  readonly time: string;
}

/** The code for each vector that has to be refused. */
const REFUSALS: Readonly<Record<string, string>> = {
  "neg-snp-flip-reportdata": "report_signature",
  "neg-snp-wrong-vcek": "report_signature",
  "neg-snp-vcek-expired": "certificate_expired",
  "syn-neg-snp-ask-revoked": "certificate_revoked",
};

const available = existsSync(join(VECTORS, "index.json"));
const vectors = available
  ? (JSON.parse(read("index.json").toString()) as { vectors: readonly Vector[] }).vectors.filter(
      ({ kind }) => kind === "snp-report",
    )
  : [];

if (!available) test.skip("recorded SNP evidence: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded SNP evidence", () => {
  test.each(vectors.filter(({ expected }) => expected.result === "accept"))("$id is verified", (vector) => {
    const verified = verifySnp(evidenceOf(vector), optionsOf(vector));
    expect(verified.product).toBe(vector.product);
    expect(verified.root.simulated).toBe(isSynthetic(vector));
  });

  test.each(vectors.filter(({ expected }) => expected.result === "reject"))("$id is refused", (vector) => {
    const code = REFUSALS[vector.id];
    expect(code).toBeDefined();
    expect(() => verifySnp(evidenceOf(vector), optionsOf(vector))).toThrow(expect.objectContaining({ code }));
  });

  test.each(vectors.filter(isSynthetic))("$id is refused under AMD's roots", (vector) => {
    const options = { ...optionsOf(vector), trustAnchors: AMD_ROOTS };
    expect(() => verifySnp(evidenceOf(vector), options)).toThrow(expect.objectContaining({ code: "untrusted_root" }));
  });

  test.each(vectors.filter(({ id }) => existsSync(join(VECTORS, id, "parsed.json"))))(
    "$id parses to its golden fields and encodes to the same bytes",
    (vector) => {
      const bytes = read(vector.files["report"]?.file ?? "");
      const report = parseSnpReport(bytes);
      const golden = JSON.parse(read(`${vector.id}/parsed.json`).toString()) as Record<string, unknown>;
      expect(golden).toMatchObject(goldenOf(report));
      expect(isEqual(encodeSnpReport(report), bytes)).toBe(true);
    },
  );

  test.each(
    vectors.filter(({ expected, id }) => expected.result === "accept" && existsSync(join(VECTORS, id, "parsed.json"))),
  )("$id: its claims are its golden fields", (vector) => {
    const golden = JSON.parse(read(`${vector.id}/parsed.json`).toString()) as Golden;
    expect(snpClaims(verifySnp(evidenceOf(vector), optionsOf(vector)))).toEqual(expectedClaims(golden, vector));
  });

  test("a VCEK that was issued again, with the same key, is as good", () => {
    const vector = find("snp-milan-v3-aci");
    const evidence = evidenceOf(vector, "vcek_alt");
    expect(verifySnp(evidence, optionsOf(vector)).product).toBe("Milan");
    const both = { ...evidence, certificates: [...evidence.certificates, ...evidenceOf(vector).certificates] };
    expect(verifySnp(both, optionsOf(vector)).product).toBe("Milan");
  });

  test("the order of the certificates does not matter", () => {
    const vector = find("snp-genoa-v3-aci");
    const { certificates, ...evidence } = evidenceOf(vector);
    const reversed = { ...evidence, certificates: certificates.toReversed() };
    expect(verifySnp(reversed, optionsOf(vector)).product).toBe("Genoa");
  });

  test("a debug policy is verified but not validated", () => {
    const vector = find("snp-milan-v2-google");
    const verified = verifySnp(evidenceOf(vector), optionsOf(vector));
    const reference = {
      productName: "Milan" as const,
      image: { kind: "measured" as const, measurement: verified.report.measurement },
      minimumTcb: { bootloader: 0, tee: 0, snp: 0, microcode: 0 },
      allowedChipIds: [],
    };
    expect(() => validateSnp(verified, reference)).toThrow(expect.objectContaining({ code: "debug_allowed" }));
    const guestPolicy = { SMT: true, Debug: true };
    expect(() => validateSnp(verified, { ...reference, guestPolicy })).not.toThrow();
  });

  test("evidence of hardware is validated against its own values", () => {
    const vector = find("snp-genoa-v3-aci");
    const verified = verifySnp(evidenceOf(vector), optionsOf(vector));
    const reference = {
      productName: "Genoa" as const,
      image: { kind: "measured" as const, measurement: verified.report.measurement },
      minimumTcb: { bootloader: 10, tee: 0, snp: 23, microcode: 84 },
      guestPolicy: { ABIMinor: 31, SMT: true },
      platformInfo: { SMTEnabled: true, TSMEEnabled: true, ECCEnabled: true, AliasCheckComplete: true },
      allowedChipIds: [verified.report.chipId],
    };
    expect(() => validateSnp(verified, reference)).not.toThrow();
  });

  test.each(["Milan", "Genoa", "Turin"])("the pinned root of %s is the one of AMD's certificate chains", (product) => {
    for (const kind of ["vcek", "vlek"]) {
      const root = chainOf(`roots/amd/${product}_${kind}_cert_chain.pem`).at(-1);
      expect(AMD_ROOTS.get(digestOf(root))).toEqual({ simulated: false, product });
    }
  });
});

function evidenceOf(vector: Vector, vcek = "vcek"): SnpEvidence {
  const report = read(vector.files["report"]?.file ?? "");
  const chain = chainOf(vector.chain).map(({ raw }) => raw);
  return { kind: "snp", report, certificates: [read(vector.files[vcek]?.file ?? ""), ...chain] };
}

/** Everything is trusted as the vector says: real chains up to AMD's roots, synthetic ones up to the synthetic root. */
function optionsOf(vector: Vector): Parameters<typeof verifySnp>[1] {
  const synthetic = digestOf(chainOf(vector.chain).at(-1));
  const crl = vector.files["crl"]?.file;
  return {
    trustAnchors: isSynthetic(vector) ? simulatedRoots([synthetic]) : AMD_ROOTS,
    at: new Date(vector.time),
    crl: crl === undefined ? undefined : read(crl),
  };
}

function isSynthetic({ chain }: Vector): boolean {
  return chain.startsWith("roots/synthetic/");
}

function chainOf(file: string): X509Certificate[] {
  const blocks =
    read(file)
      .toString()
      .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function digestOf(certificate: X509Certificate | undefined): string {
  const spki = certificate?.publicKey.export({ type: "spki", format: "der" }) ?? "";
  return createHash("sha256").update(spki).digest("hex");
}

function goldenOf(report: SnpReport): Record<string, unknown> {
  const { cpuid, currentVersion: current, committedVersion: committed } = report;
  const tcb = (value: bigint): Record<string, number> => {
    const { bootloader: bl, tee, snp, microcode: ucode } = parseTcb(value, "Milan", "TCB");
    return { bl, tee, snp, ucode };
  };
  return {
    version: report.version,
    guest_svn: report.guestSvn,
    policy: `0x${report.policy.toString(16)}`,
    family_id: toHex(report.familyId),
    image_id: toHex(report.imageId),
    vmpl: report.vmpl,
    platform_info: `0x${report.platformInfo.toString(16)}`,
    author_key_en: report.authorKeyEnabled ? 1 : 0,
    mask_chip_key: report.maskChipKey ? 1 : 0,
    signing_key: ["vcek", "vlek"].indexOf(report.signingKey),
    report_data: toHex(report.reportData),
    measurement: toHex(report.measurement),
    host_data: toHex(report.hostData),
    id_key_digest: toHex(report.idKeyDigest),
    author_key_digest: toHex(report.authorKeyDigest),
    report_id: toHex(report.reportId),
    report_id_ma: toHex(report.reportIdMa),
    fam: cpuid?.family ?? 0,
    mod: cpuid?.model ?? 0,
    step: cpuid?.stepping ?? 0,
    current_tcb: tcb(report.currentTcb),
    reported_tcb: tcb(report.reportedTcb),
    chip_id: toHex(report.chipId),
    committed_tcb: tcb(report.committedTcb),
    current_ver: `${current.major}.${current.minor}.${current.build}`,
    committed_ver: `${committed.major}.${committed.minor}.${committed.build}`,
    launch_tcb: tcb(report.launchTcb),
  };
}

interface Golden {
  readonly version: number;
  readonly policy: string;
  readonly platform_info: string;
  readonly [field: string]: unknown;
}

/** Written out from the specification, not by the code that makes claims. */
function expectedClaims(golden: Golden, vector: Vector): object {
  const bit = (value: string, place: number): boolean => ((BigInt(value) >> BigInt(place)) & 1n) === 1n;
  const { policy, platform_info: platform } = golden;
  const parts = (prefix: string): [string, number][] => {
    const { bl, tee, snp, ucode } = golden[`${prefix}_tcb`] as Record<"bl" | "tee" | "snp" | "ucode", number>;
    return Object.entries({ Fmc: 0, Bootloader: bl, Tee: tee, Snp: snp, Microcode: ucode }).map(([part, svn]) => [
      `${prefix}Tcb${part}`,
      svn,
    ]);
  };
  const { bl, tee, snp, ucode } = golden["reported_tcb"] as Record<string, number>;
  const [currentMajor, currentMinor, currentBuild] = (golden["current_ver"] as string).split(".").map(Number);
  const [committedMajor, committedMinor, committedBuild] = (golden["committed_ver"] as string).split(".").map(Number);
  const hasIdBlock = !/^0*$/.test(golden["id_key_digest"] as string);
  const isLater = golden.version >= 3;
  return {
    tee: "snp",
    product: vector.product,
    insecure: isSynthetic(vector),
    measurement: golden["measurement"],
    hostData: golden["host_data"],
    chipId: golden["chip_id"],
    signingKey: "VCEK",
    cspId: "",
    reportedTcb: `bootloader ${bl}, tee ${tee}, snp ${snp}, microcode ${ucode}`,
    vmpl: golden["vmpl"],
    reportVersion: golden.version,
    policyABIMinor: Number(BigInt(policy) & 0xffn),
    policyABIMajor: Number((BigInt(policy) >> 8n) & 0xffn),
    policySMT: bit(policy, 16),
    policyMigrateMA: bit(policy, 18),
    debug: bit(policy, 19),
    policySingleSocket: bit(policy, 20),
    policyCXLAllowed: bit(policy, 21),
    policyMemAES256XTS: bit(policy, 22),
    policyRAPLDis: bit(policy, 23),
    policyCipherTextHidingDRAM: bit(policy, 24),
    policyPageSwapDisable: bit(policy, 25),
    platformSMTEnabled: bit(platform, 0),
    platformTSMEEnabled: bit(platform, 1),
    platformECCEnabled: bit(platform, 2),
    platformRAPLDisabled: bit(platform, 3),
    platformCiphertextHidingDRAMEnabled: bit(platform, 4),
    platformAliasCheckComplete: bit(platform, 5),
    platformTIOEnabled: bit(platform, 7),
    authorKeyEnabled: golden["author_key_en"] === 1,
    authorKeyDigest: golden["author_key_en"] === 1 ? golden["author_key_digest"] : undefined,
    maskChipKey: golden["mask_chip_key"] === 1,
    idKeyDigest: hasIdBlock ? golden["id_key_digest"] : undefined,
    familyId: hasIdBlock ? golden["family_id"] : undefined,
    imageId: hasIdBlock ? golden["image_id"] : undefined,
    guestSvn: hasIdBlock ? golden["guest_svn"] : undefined,
    reportData: golden["report_data"],
    reportId: golden["report_id"],
    reportIdMa: golden["report_id_ma"],
    ...Object.fromEntries(["reported", "current", "committed", "launch"].flatMap(parts)),
    currentMajor,
    currentMinor,
    currentBuild,
    committedMajor,
    committedMinor,
    committedBuild,
    cpuidFamily: isLater ? golden["fam"] : undefined,
    cpuidModel: isLater ? golden["mod"] : undefined,
    cpuidStepping: isLater ? golden["step"] : undefined,
    launchMitigations: undefined,
    currentMitigations: undefined,
  };
}

function find(id: string): Vector {
  const vector = vectors.find((candidate) => candidate.id === id);
  if (vector === undefined) throw new Error(`no vector ${id}`);
  return vector;
}

function read(file: string): Buffer {
  return readFileSync(join(VECTORS, file));
}
