import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { toUtf8 } from "../../bytes/encode.ts";
import { encodeInteger, encodeSequence, encodeTime } from "../../pki/der-writer.ts";
import { amdSigner, encodeName, encodeSigned } from "../simulated/certificates.ts";
import type { EvidenceCode } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import { AMD_OID, type EndorsementKind } from "../snp/certificate.ts";
import { SNP_PRODUCTS, type SnpProduct } from "../snp/product.ts";
import { AMD_ROOTS } from "../snp/roots.ts";
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
} from "../snp/test-vendor.ts";
import { parseSnpReport } from "../snp/report.ts";
import { pem } from "../tdx/test-vendor.ts";
import { verifyEvidence } from "../verify.ts";
import { HighWaterMark } from "../high-water.ts";
import { crlUrl, issuersUrl, vcekUrl, withVcek } from "./amd.ts";
import type { EndorsementCache } from "./cache.ts";
import type { EndorsementCode } from "./error.ts";
import { vendorsThrough } from "./vendors.ts";
import { answerWith, startService, testCache, testNetwork, type TestService } from "./test-service.ts";

let vendor: TestVendor;

beforeAll(async () => {
  vendor = await createTestVendor();
});

/** MACHINE_TCB of the test vendor's machines, and TURIN_TCB. */
const SPL: Readonly<Record<SnpProduct, string>> = {
  Milan: "blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219",
  Genoa: "blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219",
  Turin: "fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=200",
};
const HWID: Readonly<Record<SnpProduct, string>> = {
  Milan: "c1".repeat(64),
  Genoa: "c1".repeat(64),
  Turin: "c1".repeat(8),
};

function paths(kind: EndorsementKind, product: SnpProduct): Record<"vcek" | "issuers" | "crl", string> {
  const base = `kdsintf.amd.com/${kind}/v1/${product}`;
  return { vcek: `${base}/${HWID[product]}?${SPL[product]}`, issuers: `${base}/cert_chain`, crl: `${base}/crl` };
}

function makeCrl(product: SnpProduct, serial: number): Uint8Array {
  const signer = amdSigner(vendor.ark.privateKey);
  return encodeSigned(signer, [
    encodeInteger(1),
    signer.algorithm,
    encodeName(`ARK-${product}`),
    encodeTime(new Date("2026-05-01T00:00:00Z")),
    encodeTime(new Date("2026-07-01T00:00:00Z")),
    encodeSequence(encodeSequence(encodeInteger(serial), encodeTime(NOW))),
  ]);
}

/** Evidence, and a service that has all that belongs to it. */
async function serve(
  scenario: Scenario = {},
): Promise<{ readonly evidence: SnpEvidence; readonly service: TestService }> {
  const { product = "Milan", kind = "vcek" } = scenario;
  const evidence = makeEvidence(vendor, scenario);
  const [leaf = Buffer.alloc(0), ...issuers] = evidence.certificates;
  const service = await startService();
  const at = paths(kind, product);
  if (kind === "vcek") service.answers.set(at.vcek, answerWith(leaf));
  service.answers.set(at.issuers, answerWith(pem(...issuers)));
  service.answers.set(at.crl, answerWith(makeCrl(product, 0x20001)));
  return { evidence, service };
}

function without(evidence: SnpEvidence, ...indexes: readonly number[]): SnpEvidence {
  return { ...evidence, certificates: evidence.certificates.filter((_, index) => !indexes.includes(index)) };
}

/** Asks as the sender does. */
function complete(evidence: SnpEvidence, service: TestService, product?: SnpProduct): Promise<SnpEvidence> {
  return withVcek(evidence, testCache(service, testNetwork(NOW)).cache, { product });
}

/** Asks as a verifier does. */
function verify(
  evidence: SnpEvidence,
  asked: TestService | EndorsementCache,
  product: SnpProduct = "Milan",
  at = NOW,
): ReturnType<typeof verifyEvidence> {
  const cache = "requests" in asked ? testCache(asked, testNetwork(at)).cache : asked;
  return verifyEvidence(
    { evidence, reportData: parseSnpReport(evidence.report).reportData },
    {
      snpAnchors: asVendorRoot(vendor, product),
      tdxAnchors: new Set(),
      now: () => at,
      highWater: new HighWaterMark(),
      vendors: vendorsThrough(cache),
    },
  );
}

function refusal(code: EndorsementCode | EvidenceCode, more: object = {}): unknown {
  return expect.objectContaining({ code, ...more });
}

test.each(SNP_PRODUCTS)(
  "a report of %s without certificates gets that of its chip, and is verified",
  async (product) => {
    const { evidence, service } = await serve({ product });
    const at = paths("vcek", product);
    const completed = await complete(without(evidence, 0, 1, 2), service);
    expect(completed.certificates).toEqual(evidence.certificates.slice(0, 1));
    expect(service.requests.splice(0)).toEqual([at.vcek]);
    expect(await verify(completed, service, product)).toMatchObject({ product });
    expect(service.requests).toEqual([at.issuers, at.crl]);
  },
);

test.each<[string, readonly number[], readonly ("issuers" | "crl")[]]>([
  ["everything", [], ["crl"]],
  ["all but the root", [2], ["issuers", "crl"]],
  ["the VCEK", [1, 2], ["issuers", "crl"]],
])("where %s came along, only what is missing is fetched", async (_, removed, fetched) => {
  const { evidence, service } = await serve();
  const brought = without(evidence, ...removed);
  expect(await complete(brought, service)).toEqual(brought);
  expect(await verify(brought, service)).toBeDefined();
  const at = paths("vcek", "Milan");
  expect(service.requests).toEqual(fetched.map((name) => at[name]));
});

test("where the issuers came along and fit the VCEK that is fetched, they stay", async () => {
  const { evidence, service } = await serve();
  expect(await complete(without(evidence, 0), service)).toEqual(evidence);
  const others = makeEvidence(await createTestVendor("other")).certificates.slice(1);
  const completed = await complete({ ...evidence, certificates: others }, service);
  expect(completed.certificates).toEqual(evidence.certificates.slice(0, 1));
});

test("where the VCEK of an earlier TCB came along, the right one is fetched", async () => {
  const { evidence, service } = await serve();
  const extensions = vcek("Milan", { [AMD_OID.microcode]: encodeInteger(7) });
  const earlier = makeEvidence(vendor, { leaf: { extensions, publicKey: vendor.endorsement.publicKey } });
  const completed = await complete(
    { ...evidence, certificates: [...earlier.certificates.slice(0, 1), ...evidence.certificates.slice(1)] },
    service,
  );
  expect(service.requests).toEqual([paths("vcek", "Milan").vcek]);
  expect(await verify(completed, service)).toBeDefined();
});

test("a list that revokes the issuer takes effect", async () => {
  const { evidence, service } = await serve();
  service.answers.set(paths("vcek", "Milan").crl, answerWith(makeCrl("Milan", 0x10001)));
  await expect(verify(evidence, service)).rejects.toEqual(refusal("certificate_revoked"));
});

test("a VLEK that came along is verified with its own issuers and list", async () => {
  const { evidence, service } = await serve({ kind: "vlek" });
  const brought = without(evidence, 1, 2);
  expect(await complete(brought, service)).toEqual(brought);
  expect(await verify(brought, service)).toMatchObject({ signingKey: "vlek" });
  const { issuers, crl } = paths("vlek", "Milan");
  expect(service.requests).toEqual([issuers, crl]);
});

test("a VLEK that did not come along is not asked for: AMD hands none out", async () => {
  const { evidence, service } = await serve({ kind: "vlek" });
  await expect(complete(without(evidence, 0), service)).rejects.toEqual(refusal("vlek_not_distributed"));
  expect(service.requests).toEqual([]);
});

describe("a report of version 2", () => {
  const report = { version: 2, cpuid: undefined };

  test("is verified with the product of the certificate that came along", async () => {
    const { evidence, service } = await serve({ product: "Genoa", report });
    await verify(without(evidence, 1, 2), service, "Genoa");
    expect(service.requests).toContain(paths("vcek", "Genoa").issuers);
  });

  test("is completed with the product that the caller names", async () => {
    const { evidence, service } = await serve({ product: "Genoa", report });
    await complete(without(evidence, 0, 1, 2), service, "Genoa");
    expect(service.requests).toContain(paths("vcek", "Genoa").vcek);
  });

  test("is refused where nothing says the product", async () => {
    const { evidence, service } = await serve({ report });
    await expect(complete(without(evidence, 0), service)).rejects.toEqual(refusal("product_unknown"));
  });
});

test("a chip that the host masks can't be looked up", async () => {
  const { evidence, service } = await serve({ report: { chipId: Buffer.alloc(64), maskChipKey: true } });
  await expect(complete(without(evidence, 0), service)).rejects.toEqual(refusal("chip_id_mismatch"));
  expect(service.requests.filter((path) => path.includes("SPL="))).toEqual([]);
});

test("a report that is not signed is not completed", async () => {
  const { evidence, service } = await serve({ report: { signingKey: "none" } });
  await expect(complete(evidence, service)).rejects.toEqual(refusal("signing_key_mismatch"));
});

test("a chip that AMD does not know is refused, and the error names the address", async () => {
  const { evidence, service } = await serve();
  const { vcek: path } = paths("vcek", "Milan");
  service.answers.delete(path);
  const where = new URL(path, service.url).href;
  await expect(complete(without(evidence, 0), service)).rejects.toEqual(refusal("vendor_refused", { where }));
});

test("an answer that is something else is refused, be it well formed", async () => {
  const { evidence } = await serve();
  const at = paths("vcek", "Milan");
  const otherChip = makeEvidence(vendor, {
    leaf: { extensions: vcek("Milan", { [AMD_OID.hwid]: Buffer.alloc(64, 0xc2) }) },
  });
  const [leaf = Buffer.alloc(0), ask = Buffer.alloc(0), ark = Buffer.alloc(0)] = otherChip.certificates;
  const wrong: readonly (readonly [string, string | Uint8Array])[] = [
    [at.vcek, "garbage"],
    [at.vcek, leaf],
    [at.vcek, ask],
    [at.vcek, pem(...evidence.certificates.slice(0, 1))],
    [at.issuers, ""],
    [at.issuers, pem(ask)],
    [at.issuers, ark],
    [at.crl, "garbage"],
    [at.crl, ark],
  ];
  for (const [path, body] of wrong) {
    const { service } = await serve();
    service.answers.set(path, answerWith(body));
    const outcome = complete(without(evidence, 0, 1, 2), service).then((completed) => verify(completed, service));
    await expect(outcome).rejects.toEqual(refusal("malformed_endorsement"));
  }
});

test("while AMD is down, evidence is verified with what was fetched before, until the list is too old", async () => {
  const { evidence, service } = await serve();
  const network = testNetwork(NOW);
  const { cache } = testCache(service, network);
  await verify(without(evidence, 1, 2), cache);
  await service.close();
  network.time = new Date("2026-06-30T00:00:00Z");
  expect(await verify(without(evidence, 1, 2), cache, "Milan", network.time)).toBeDefined();
  network.time = new Date("2026-07-01T00:00:00Z");
  await expect(verify(evidence, cache, "Milan", network.time)).rejects.toEqual(refusal("vendor_unreachable"));
});

const KDS = "https://kdsintf.amd.com";
const TCB = { fmc: 9, bootloader: 3, tee: 0, snp: 8, microcode: 115 };
const FAMILY_19 = `${"c1".repeat(64)}?blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115`;

test.each([
  ["Milan", TCB, FAMILY_19],
  ["Genoa", TCB, FAMILY_19],
  ["Turin", TURIN_TCB, "c1c1c1c1c1c1c1c1?fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=200"],
] as const)("the VCEK of a %s is at its address", (product, tcb, path) => {
  expect(vcekUrl({ product, chipId: CHIP_ID, tcb }).href).toBe(`${KDS}/vcek/v1/${product}/${path}`);
});

test.each(SNP_PRODUCTS)("issuers and lists of %s are at their addresses", (product) => {
  for (const kind of ["vcek", "vlek"] as const) {
    expect(issuersUrl(kind, product).href).toBe(`${KDS}/${kind}/v1/${product}/cert_chain`);
    expect(crlUrl(kind, product).href).toBe(`${KDS}/${kind}/v1/${product}/crl`);
  }
});

/** Recorded evidence. It lies beside the checkout, not in it. */
const VECTORS = join(import.meta.dirname, "../../../shared/vectors");
const available = existsSync(VECTORS);

if (!available) test.skip("recorded SNP evidence: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded SNP evidence", () => {
  test("of a Genoa is completed with AMD's own certificates and list, and verified", async () => {
    const read = (file: string): Uint8Array => readFileSync(join(VECTORS, file));
    const id = "snp-genoa-v3-tsm-auxblob";
    const report = read(`${id}/report.bin`);
    const golden = JSON.parse(toUtf8(read(`${id}/parsed.json`))) as {
      readonly chip_id: string;
      readonly reported_tcb: Readonly<Record<"bl" | "tee" | "snp" | "ucode", number>>;
    };
    const { bl, tee, snp, ucode } = golden.reported_tcb;
    const service = await startService();
    const base = "kdsintf.amd.com/vcek/v1/Genoa";
    const spl = `blSPL=${bl}&teeSPL=${tee}&snpSPL=${snp}&ucodeSPL=${ucode}`;
    service.answers.set(`${base}/${golden.chip_id}?${spl}`, answerWith(read(`${id}/vcek.der`)));
    service.answers.set(`${base}/cert_chain`, answerWith(read("roots/amd/Genoa_vcek_cert_chain.pem")));
    service.answers.set(`${base}/crl`, answerWith(read(`${id}/ark_crl.der`)));
    const at = new Date("2025-07-01T00:00:00Z");
    const { cache } = testCache(service, testNetwork(at));
    const evidence = await withVcek({ kind: "snp", report, certificates: [] }, cache);
    const verified = await verifyEvidence(
      { evidence, reportData: parseSnpReport(report).reportData },
      {
        snpAnchors: AMD_ROOTS,
        tdxAnchors: new Set(),
        now: () => at,
        highWater: new HighWaterMark(),
        vendors: vendorsThrough(cache),
      },
    );
    expect(verified).toMatchObject({ product: "Genoa" });
  });

  test.each(SNP_PRODUCTS)("cert_chain of %s is what AMD's service answers", async (product) => {
    for (const kind of ["vcek", "vlek"] as const) {
      const { service } = await serve({ product, kind });
      const file = readFileSync(join(VECTORS, `roots/amd/${product}_${kind}_cert_chain.pem`));
      service.answers.set(paths(kind, product).issuers, answerWith(file));
      const { cache } = testCache(service, testNetwork(NOW));
      expect(await vendorsThrough(cache).issuers(kind, product)).toHaveLength(2);
    }
  });
});
