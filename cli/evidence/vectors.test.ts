import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { SGX_TYPES } from "../../attestation/tdx/pck.ts";
import type { EvidenceOptions } from "./request.ts";
import { describeEvidence } from "./show.ts";
import { verdictOf } from "./test-command.ts";

/** Recorded evidence with expected results. It lies beside the checkout, not in it. */
const VECTORS = join(import.meta.dirname, "../../../shared/vectors");

interface Vector {
  readonly id: string;
  readonly kind: string;
  readonly files: Readonly<Record<string, { readonly file: string }>>;
  readonly expected: { readonly result: string; readonly tcb_status?: string; readonly layer?: string };
  readonly product: "Milan" | "Genoa" | "Turin";
  readonly chain?: string;
  readonly root?: string;
  readonly time: string;
}

/** What the command says about each vector that has to be refused. */
const REFUSALS: Readonly<Record<string, object>> = {
  "neg-snp-flip-reportdata": { code: "report_signature", field: "SIGNATURE" },
  "neg-snp-wrong-vcek": { code: "report_signature", field: "SIGNATURE" },
  "neg-snp-vcek-expired": { code: "certificate_expired", field: "SEV-VCEK" },
  "syn-neg-snp-ask-revoked": { code: "certificate_revoked", field: "SEV-Milan", got: "serial 010001" },
  "tdx-v4-google-spr": { code: "no_tcb_level", tcbStatus: "NotSupported" },
  "neg-tdx-tcbinfo-edited": { code: "collateral_signature", field: "TCB info, signature" },
  "neg-tdx-collateral-expired": { code: "collateral_expired", field: "TCB info" },
  "neg-tdx-flip-reportdata": { code: "report_signature", field: "quote signature" },
  "syn-neg-tdx-pck-revoked": { code: "certificate_revoked", field: "Intel SGX PCK Certificate" },
  "syn-tdx-swhardening": { code: "tcb_status", tcbStatus: "SWHardeningNeeded", field: "TCB status" },
};

const available = existsSync(join(VECTORS, "index.json"));
const all = available ? (JSON.parse(read("index.json").toString()) as { vectors: readonly Vector[] }).vectors : [];
const verifiable = all.filter(({ kind }) => kind === "snp-report" || kind === "tdx-quote");

if (!available) test.skip("recorded evidence: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded evidence", () => {
  test.each(verifiable.filter(({ expected }) => expected.result === "accept"))("$id is verified", async (vector) => {
    const verdict = await verdictOf(new Date(vector.time), optionsOf(vector));
    expect(verdict).toMatchObject({ exit: 0, verified: true, code: "ok", field: null, got: null, want: null });
    expect(verdict.tcbStatus).toBe(vector.expected.tcb_status ?? null);
    expect(verdict.claims?.tee).toBe(vector.kind === "snp-report" ? "snp" : "tdx");
    expect("insecure" in verdict).toBe(isSynthetic(vector));
  });

  test.each(verifiable.filter(({ expected }) => expected.result === "reject"))("$id is refused", async (vector) => {
    const verdict = await verdictOf(new Date(vector.time), optionsOf(vector));
    expect(REFUSALS[vector.id]).toBeDefined();
    expect(verdict).toMatchObject({ exit: 3, verified: false, claims: null, ...REFUSALS[vector.id] });
    expect(verdict.message).not.toBe("");
  });

  test.each(verifiable.filter(isSynthetic))("$id is refused under the vendor's roots", async (vector) => {
    const { trustAnchor, ...options } = optionsOf(vector);
    expect(trustAnchor).toBeDefined();
    const verdict = await verdictOf(new Date(vector.time), options);
    expect(verdict).toMatchObject({ exit: 3, verified: false, code: "untrusted_root" });
    expect("insecure" in verdict).toBe(false);
  });

  test("a debug VM of real hardware is refused unless that is allowed", async () => {
    const vector = find("snp-milan-v2-google");
    const { allowDebug, ...options } = optionsOf(vector);
    expect(allowDebug).toBe(true);
    expect(await verdictOf(new Date(vector.time), options)).toMatchObject({
      exit: 3,
      code: "debug_allowed",
      field: "POLICY.Debug",
      got: "1",
      want: "0",
    });
  });

  test("a status that is allowed by name passes, and is reported with its advisories", async () => {
    const vector = find("syn-tdx-swhardening");
    const options = { ...optionsOf(vector), allowTcbStatus: ["SWHardeningNeeded"] };
    const verdict = await verdictOf(new Date(vector.time), options);
    expect(verdict).toMatchObject({ exit: 0, tcbStatus: "SWHardeningNeeded" });
    expect(verdict.advisories).not.toEqual([]);
  });

  test("a real certificate table brings the whole chain", async () => {
    const { files, time } = find("snp-genoa-v3-tsm-auxblob");
    const options = { snp: path(files["report"]?.file), certTable: path(files["auxblob"]?.file) };
    expect(await verdictOf(new Date(time), options)).toMatchObject({
      exit: 0,
      warnings: [expect.stringContaining("--crl")],
    });
  });

  test.each(all.filter(({ id }) => existsSync(join(VECTORS, id, "parsed.json"))))(
    "show prints the golden fields of $id",
    (vector) => {
      const golden = JSON.parse(read(`${vector.id}/parsed.json`).toString()) as Golden;
      const shown = describeEvidence(read((vector.files["report"] ?? vector.files["quote"])?.file ?? ""));
      expect(shown).toMatchObject(vector.kind === "snp-report" ? snpFields(golden) : tdxFields(golden));
    },
  );

  test("show prints a real TDREPORT", () => {
    const shown = describeEvidence(read(find("tdreport-coco").files["tdreport"]?.file ?? ""));
    expect(shown).toMatchObject({ kind: "tdreport", VERSION: 1, VALID: "0x301ff", XFAM: "e742060000000000" });
    expect(shown["MRTD"]).toMatch(/^98bbc39e/);
    expect(shown["RTMR1"]).toMatch(/^4e5f8826/);
  });
});

type Golden = Readonly<Record<string, unknown>> &
  Readonly<Record<"body" | "qeReport" | "pck", Record<string, unknown>>>;

function snpFields(golden: Golden): object {
  return {
    kind: "snp-report",
    VERSION: golden["version"],
    GUEST_SVN: golden["guest_svn"],
    POLICY: golden["policy"],
    VMPL: golden["vmpl"],
    SIGNATURE_ALGO: golden["sig_algo"],
    PLATFORM_INFO: golden["platform_info"],
    AUTHOR_KEY_EN: golden["author_key_en"],
    MASK_CHIP_KEY: golden["mask_chip_key"],
    SIGNING_KEY: golden["signing_key"],
    REPORT_DATA: golden["report_data"],
    MEASUREMENT: golden["measurement"],
    HOST_DATA: golden["host_data"],
    REPORT_ID: golden["report_id"],
    CHIP_ID: golden["chip_id"],
    ...(golden["version"] === 2
      ? {}
      : { CPUID_FAM_ID: golden["fam"], CPUID_MOD_ID: golden["mod"], CPUID_STEP: golden["step"] }),
  };
}

function tdxFields({ version, body, qeReport, pck }: Golden): object {
  return {
    kind: "tdx-quote",
    VERSION: version,
    TEE_TYPE: 129,
    MRSEAM: body["mrSeam"],
    TDATTRIBUTES: body["tdAttr"],
    XFAM: body["xfam"],
    MRTD: body["mrTd"],
    MRCONFIGID: body["mrConfigId"],
    RTMR0: (body["rtmr"] as readonly string[])[0],
    RTMR3: (body["rtmr"] as readonly string[])[3],
    REPORTDATA: body["reportData"],
    QE_REPORT: { MRSIGNER: qeReport["mrSigner"], ISVSVN: qeReport["isvSvn"] },
    PCK: {
      PPID: pck["ppid"],
      SGX_TCB_COMPONENT_SVNS: pck["comp"],
      PCESVN: pck["pcesvn"],
      PCEID: pck["pceid"],
      FMSPC: pck["fmspc"],
      SGX_TYPE: Object.keys(SGX_TYPES)[Number(pck["sgxType"])],
      PIID: pck["piid"],
      CONFIGURATION: {
        DYNAMIC_PLATFORM: pck["dyn"] === "ff",
        CACHED_KEYS: pck["cachedKeys"] === "ff",
        SMT_ENABLED: pck["smt"] === "ff",
      },
    },
    ...("teeTcbSvn2" in body ? { TEE_TCB_SVN2: body["teeTcbSvn2"], MRSERVICETD: body["mrServiceTd"] } : {}),
  };
}

function optionsOf(vector: Vector): EvidenceOptions {
  const { files, chain, root } = vector;
  const anchor = isSynthetic(vector) ? { trustAnchor: [path(chain ?? root)] } : {};
  if (vector.kind === "snp-report") {
    return {
      snp: path(files["report"]?.file),
      vcek: path(files["vcek"]?.file),
      certChain: path(chain),
      product: vector.product,
      ...(files["crl"] && { crl: path(files["crl"].file) }),
      // The policy of this VM allows debugging; everything else about it is right.
      ...(files["report"]?.file.includes("google") === true && { allowDebug: true as const }),
      ...anchor,
    };
  }
  return {
    tdx: path(files["quote"]?.file),
    tcbInfo: path(files["tcb_info"]?.file),
    tcbSigningChain: path(files["tcb_signing_chain"]?.file),
    qeIdentity: path(files["qe_identity"]?.file),
    pckCrl: path(files["pck_crl"]?.file),
    rootCaCrl: path(files["root_ca_crl"]?.file),
    ...anchor,
  };
}

function isSynthetic({ chain, root }: Vector): boolean {
  return (chain ?? root ?? "").startsWith("roots/synthetic/");
}

function find(id: string): Vector {
  const vector = all.find((candidate) => candidate.id === id);
  if (vector === undefined) throw new Error(`no vector ${id}`);
  return vector;
}

function path(file: string | undefined): string {
  return join(VECTORS, file ?? "missing");
}

function read(file: string): Buffer {
  return readFileSync(join(VECTORS, file));
}
