import { describe, expect, test } from "vitest";
import { loweredMinimums } from "./lowered-minimums.ts";
import { type Manifest, parseManifest } from "./manifest.ts";

const MEASURED = { TrustedMeasurement: "11".repeat(48) };
const PRODUCT = { FamilyID: "fa".repeat(16), ImageID: "1a".repeat(16) };
const ID = { IdKeyDigest: "1d".repeat(48) };
const AUTHOR = { AuthorKeyDigest: "a0".repeat(48) };
const signed = (MinimumGuestSVN: number, signer: object = ID, product: object = PRODUCT): object => ({
  ...signer,
  ...product,
  MinimumGuestSVN,
});

interface SnpChanges {
  readonly ProductName?: string;
  readonly tcb?: Readonly<Record<string, number>>;
  readonly GuestPolicy?: object;
  readonly MinimumMitigationVector?: number;
}

function snp(image: object, changes: SnpChanges = {}): object {
  const { ProductName = "Milan", tcb = {}, GuestPolicy = {}, ...others } = changes;
  const MinimumTCB = { BootloaderVersion: 4, TEEVersion: 1, SNPVersion: 8, MicrocodeVersion: 115, ...tcb };
  return { ProductName, ...image, MinimumTCB, GuestPolicy, ...others };
}

const insecure = (image: object, root = "66"): object => ({ RootDigest: root.repeat(32), ...image });

const tdx = (changes: object = {}): object => ({
  MrTd: "33".repeat(48),
  MrSeam: "44".repeat(48),
  Rtmrs: Array(4).fill("50".repeat(48)),
  Xfam: "e742060000000000",
  MinimumTeeTcbSvn: "02".repeat(16),
  ...changes,
});

function manifest(ReferenceValues: object): Manifest {
  const document = { Policies: {}, ReferenceValues, WorkloadOwnerKeyDigests: [], SeedshareOwnerPubKeys: [] };
  return parseManifest(Buffer.from(JSON.stringify(document)));
}

/** `where from -> to` of each, without the part of the path that is the same everywhere. */
function lowered(before: object, after: object): string[] {
  return loweredMinimums(manifest(before), manifest(after)).map(
    ({ where, from, to }) => `${where.replace("$.ReferenceValues.", "")} ${from} -> ${to}`,
  );
}

test("a manifest that did not change lowers nothing", () => {
  const values = {
    snp: [snp(MEASURED), snp(signed(6)), snp(signed(3, AUTHOR), { tcb: { SNPVersion: 20 } })],
    tdx: [tdx(), tdx({ MrTd: "34".repeat(48), MinimumTeeTcbSvn: "01".repeat(16) })],
    insecure: [insecure(MEASURED), insecure(signed(6))],
  };
  expect(lowered(values, values)).toEqual([]);
  expect(lowered(values, { ...values, snp: values.snp.toReversed(), tdx: values.tdx.toReversed() })).toEqual([]);
});

describe("SNP", () => {
  test.each(["BootloaderVersion", "TEEVersion", "SNPVersion", "MicrocodeVersion"])("%s", (key) => {
    const before = { snp: [snp(MEASURED, { tcb: { [key]: 7 } })] };
    const to = (version: number): string[] => lowered(before, { snp: [snp(MEASURED, { tcb: { [key]: version } })] });
    expect(to(6)).toEqual([`snp[0].MinimumTCB.${key} 7 -> 6`]);
    expect(to(7)).toEqual([]);
    expect(to(8)).toEqual([]);
  });

  test("FMCVersion of Turin", () => {
    const turin = (FMCVersion: number): object => ({
      snp: [snp(MEASURED, { ProductName: "Turin", tcb: { FMCVersion } })],
    });
    expect(lowered(turin(1), turin(0))).toEqual(["snp[0].MinimumTCB.FMCVersion 1 -> 0"]);
  });

  test("mitigations, bit by bit", () => {
    const asking = (...vectors: number[]): object => ({
      snp: vectors.map((MinimumMitigationVector) => snp(MEASURED, { MinimumMitigationVector })),
    });
    expect(lowered(asking(0b101), asking(0b100))).toEqual(["snp[0].MinimumMitigationVector 5 -> 4"]);
    expect(lowered(asking(0b101), asking(0b1000))).toEqual(["snp[0].MinimumMitigationVector 5 -> 8"]);
    expect(lowered(asking(0b101), asking(0b111))).toEqual([]);
    // Bits beyond those that JavaScript's own operators know.
    expect(lowered(asking(2 ** 52), asking(1))).toEqual([`snp[0].MinimumMitigationVector ${2 ** 52} -> 1`]);
    // Without it, reports that have no vectors pass again.
    expect(lowered(asking(0), { snp: [snp(MEASURED)] })).toEqual(["snp[0].MinimumMitigationVector 0 -> none"]);
    expect(lowered({ snp: [snp(MEASURED)] }, asking(0))).toEqual([]);
  });

  test("the ABI version of the guest policy, which is one number in two keys", () => {
    const abi = (GuestPolicy: object): object => ({ snp: [snp(MEASURED, { GuestPolicy })] });
    expect(lowered(abi({ ABIMinor: 31 }), abi({}))).toEqual(["snp[0].GuestPolicy ABI 0.31 -> ABI 0.0"]);
    expect(lowered(abi({ ABIMajor: 1 }), abi({ ABIMinor: 99 }))).toEqual(["snp[0].GuestPolicy ABI 1.0 -> ABI 0.99"]);
    expect(lowered(abi({ ABIMinor: 31 }), abi({ ABIMajor: 1 }))).toEqual([]);
  });

  test("a new image on the same product", () => {
    const before = { snp: [snp(MEASURED), snp({ TrustedMeasurement: "12".repeat(48) }, { tcb: { SNPVersion: 6 } })] };
    const update = (SNPVersion: number): object => ({
      snp: [snp(MEASURED), snp({ TrustedMeasurement: "13".repeat(48) }, { tcb: { SNPVersion } })],
    });
    expect(lowered(before, update(6))).toEqual([]);
    expect(lowered(before, update(5))).toEqual(["snp[1].MinimumTCB.SNPVersion 6 -> 5"]);
  });

  test("the same image is not excused by what another was asked for", () => {
    const other = snp({ TrustedMeasurement: "12".repeat(48) }, { tcb: { SNPVersion: 5 } });
    const after = { snp: [snp(MEASURED, { tcb: { SNPVersion: 5 } }), other] };
    expect(lowered({ snp: [snp(MEASURED), other] }, after)).toEqual(["snp[0].MinimumTCB.SNPVersion 8 -> 5"]);
  });

  test("two sets that each ask for less of one part don't excuse a set that asks for less of both", () => {
    const of = (BootloaderVersion: number, SNPVersion: number): object =>
      snp(MEASURED, { tcb: { BootloaderVersion, SNPVersion } });
    expect(lowered({ snp: [of(3, 9), of(4, 8)] }, { snp: [of(3, 8)] })).toEqual([
      "snp[0].MinimumTCB.SNPVersion 9 -> 8",
    ]);
    const image = (svn: number, SNPVersion: number): object => snp(signed(svn), { tcb: { SNPVersion } });
    expect(lowered({ snp: [image(3, 9), image(4, 8)] }, { snp: [image(3, 8)] })).toEqual([
      "snp[0].MinimumTCB.SNPVersion 9 -> 8",
    ]);
  });

  test("a product or a kind that is new lowers nothing", () => {
    const genoa = snp(MEASURED, { ProductName: "Genoa", tcb: { SNPVersion: 0 } });
    expect(lowered({ snp: [snp(MEASURED)] }, { snp: [snp(MEASURED), genoa] })).toEqual([]);
    expect(lowered({ tdx: [tdx()] }, { tdx: [tdx()], snp: [genoa] })).toEqual([]);
  });
});

describe.each([
  ["snp", (image: object) => snp(image)],
  ["insecure", (image: object) => insecure(image)],
] as const)("MinimumGuestSVN of %s", (kind, set) => {
  const change = (before: object, ...after: object[]): string[] =>
    lowered({ [kind]: [set(before)] }, { [kind]: after.map((image) => set(image)) });

  test("of the same signer and product", () => {
    expect(change(signed(6), signed(5))).toEqual([`${kind}[0].MinimumGuestSVN 6 -> 5`]);
    expect(change(signed(6), signed(6), signed(5))).toEqual([`${kind}[1].MinimumGuestSVN 6 -> 5`]);
    expect(change(signed(6), signed(7))).toEqual([]);
  });

  test("of a signer that is named more or less closely", () => {
    const both = { ...ID, ...AUTHOR };
    expect(change(signed(6, both), signed(5, AUTHOR))).toEqual([`${kind}[0].MinimumGuestSVN 6 -> 5`]);
    expect(change(signed(6, ID), signed(5, both))).toEqual([`${kind}[0].MinimumGuestSVN 6 -> 5`]);
    expect(change(signed(6, both), signed(6, AUTHOR))).toEqual([]);
  });

  test("of another signer, family or image is new", () => {
    expect(change(signed(6), signed(0, { IdKeyDigest: "1e".repeat(48) }))).toEqual([]);
    expect(change(signed(6), signed(0, ID, { ...PRODUCT, FamilyID: "fb".repeat(16) }))).toEqual([]);
    expect(change(signed(6), signed(0, ID, { ...PRODUCT, ImageID: "1b".repeat(16) }))).toEqual([]);
    expect(change(MEASURED, signed(0))).toEqual([]);
    expect(change(signed(6), MEASURED)).toEqual([]);
  });
});

test("a security version falls with a new platform, too", () => {
  const genoa = snp(signed(5), { ProductName: "Genoa" });
  expect(lowered({ snp: [snp(signed(6))] }, { snp: [genoa] })).toEqual(["snp[0].MinimumGuestSVN 6 -> 5"]);
  const other = { insecure: [insecure(signed(5), "67")] };
  expect(lowered({ insecure: [insecure(signed(6))] }, other)).toEqual(["insecure[0].MinimumGuestSVN 6 -> 5"]);
});

describe("TDX", () => {
  const svn = (byte: number, value: string): string => {
    const bytes = Array<string>(16).fill("02");
    bytes[byte] = value;
    return bytes.join("");
  };

  test.each(Array.from({ length: 16 }, (_, index) => index))("byte %i of MinimumTeeTcbSvn", (byte) => {
    const to = (value: string): string[] =>
      lowered({ tdx: [tdx()] }, { tdx: [tdx({ MinimumTeeTcbSvn: svn(byte, value) })] });
    expect(to("01")).toEqual([`tdx[0].MinimumTeeTcbSvn ${"02".repeat(16)} -> ${svn(byte, "01")}`]);
    expect(to("03")).toEqual([]);
  });

  test("of another image is compared with what TDX was asked for", () => {
    const after = tdx({ MrTd: "34".repeat(48), MinimumTeeTcbSvn: "01".repeat(16) });
    expect(lowered({ tdx: [tdx()] }, { tdx: [after] })).toHaveLength(1);
  });

  test("the number of Intel's assessment", () => {
    const number = (...numbers: number[]): object => ({
      tdx: numbers.map((MinimumTCBEvaluationDataNumber) => tdx({ MinimumTCBEvaluationDataNumber })),
    });
    expect(lowered(number(18), number(17))).toEqual(["tdx[0].MinimumTCBEvaluationDataNumber 18 -> 17"]);
    expect(lowered(number(18), { tdx: [tdx()] })).toEqual(["tdx[0].MinimumTCBEvaluationDataNumber 18 -> 0"]);
    expect(lowered(number(18), number(19))).toEqual([]);
    expect(lowered({ tdx: [tdx()] }, number(0))).toEqual([]);
  });

  test("a TCB status that is newly allowed counts", () => {
    const allow = (...AllowedTcbStatuses: string[]): object => ({ tdx: [tdx({ AllowedTcbStatuses })] });
    expect(lowered({ tdx: [tdx()] }, allow("OutOfDate"))).toEqual([
      "tdx[0].AllowedTcbStatuses UpToDate -> UpToDate or OutOfDate",
    ]);
    expect(lowered(allow("OutOfDate", "SWHardeningNeeded"), allow("SWHardeningNeeded"))).toEqual([]);
    expect(lowered(allow("OutOfDate"), allow("SWHardeningNeeded"))).toEqual([
      "tdx[0].AllowedTcbStatuses UpToDate or OutOfDate -> UpToDate or SWHardeningNeeded",
    ]);
  });
});
