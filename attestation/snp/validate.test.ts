import { beforeAll, describe, expect, test } from "vitest";
import type { EvidenceCode } from "../error.ts";
import { GUEST_POLICY, PLATFORM_INFO } from "./flags.ts";
import type { SnpReportFields } from "./report.ts";
import { simulatedRoots } from "./roots.ts";
import { encodeTcb, TCB_PARTS, type TcbPart } from "./tcb.ts";
import {
  asVendorRoot,
  createTestVendor,
  makeEvidence,
  NOW,
  reportOf,
  type TestVendor,
  TURIN_TCB,
} from "./test-vendor.ts";
import { type SnpReferenceValues, validateSimulated, validateSnp } from "./validate.ts";
import { type VerifiedSnpReport, verifySnp } from "./verify.ts";

let vendor: TestVendor;

beforeAll(async () => {
  vendor = await createTestVendor();
});

const { measurement, chipId } = reportOf("Milan", "vcek");

/** What the report of `test-vendor.ts` satisfies exactly. */
const REFERENCE: SnpReferenceValues = {
  productName: "Milan",
  image: { kind: "measured", measurement },
  minimumTcb: { bootloader: 4, tee: 0, snp: 24, microcode: 219 },
  guestPolicy: { SMT: true },
  platformInfo: { SMTEnabled: true, ECCEnabled: true, AliasCheckComplete: true },
  allowedChipIds: [],
};

/** A report of hardware, as far as validation can tell. */
function hardware(report: Partial<SnpReportFields> = {}): VerifiedSnpReport {
  return verifySnp(makeEvidence(vendor, { report }), { trustAnchors: asVendorRoot(vendor, "Milan"), at: NOW });
}

function simulated(report: Partial<SnpReportFields> = {}): VerifiedSnpReport {
  const trustAnchors = simulatedRoots([vendor.rootDigest]);
  return verifySnp(makeEvidence(vendor, { report }), { trustAnchors, at: NOW });
}

function refusal(code: EvidenceCode, where: string): unknown {
  return expect.objectContaining({ name: "EvidenceError", code, where });
}

describe("hardware", () => {
  test("a report that satisfies every reference value passes", () => {
    expect(() => validateSnp(hardware(), REFERENCE)).not.toThrow();
  });

  test("another measurement is refused", () => {
    const verified = hardware({ measurement: Buffer.alloc(48, 1) });
    expect(() => validateSnp(verified, REFERENCE)).toThrow(refusal("measurement_mismatch", "MEASUREMENT"));
  });

  test("an image of a signer passes whatever its measurement, and an unsigned one does not", () => {
    const signed = { idKeyDigest: Buffer.alloc(48, 1), familyId: Buffer.alloc(16, 2), imageId: Buffer.alloc(16, 3) };
    const { idKeyDigest, ...product } = signed;
    const image = { kind: "signed", signer: { idKeyDigest }, ...product, minimumGuestSvn: 4 } as const;
    const of = (guestSvn: number): VerifiedSnpReport =>
      hardware({ ...signed, guestSvn, measurement: Buffer.alloc(48, 5) });
    expect(() => validateSnp(of(4), { ...REFERENCE, image })).not.toThrow();
    expect(() => validateSnp(of(3), { ...REFERENCE, image })).toThrow(refusal("guest_svn_too_low", "GUEST_SVN"));
    expect(() => validateSnp(hardware(), { ...REFERENCE, image })).toThrow(refusal("image_mismatch", "ID_KEY_DIGEST"));
  });

  test("another product is refused", () => {
    const reference = { ...REFERENCE, productName: "Genoa" } as const;
    expect(() => validateSnp(hardware(), reference)).toThrow(refusal("product_mismatch", "product"));
  });

  test.each([undefined, { SMT: true }])("a VM that the host may debug is refused (policy %o)", (guestPolicy) => {
    const verified = hardware({ policy: 0xb0000n });
    expect(() => validateSnp(verified, { ...REFERENCE, guestPolicy })).toThrow(
      refusal("debug_allowed", "POLICY.Debug"),
    );
  });

  test("a VM that the host may debug passes only where the manifest says so", () => {
    const reference = { ...REFERENCE, guestPolicy: { SMT: true, Debug: true } };
    expect(() => validateSnp(hardware({ policy: 0xb0000n }), reference)).not.toThrow();
    expect(() => validateSnp(hardware(), reference)).not.toThrow();
  });

  test.each([1, 2, 3, 0xffff_ffff])("VMPL %i is refused", (vmpl) => {
    expect(() => validateSnp(hardware({ vmpl }), REFERENCE)).toThrow(refusal("vmpl_mismatch", "VMPL"));
  });

  test("without a guest policy, anything but debugging and migration passes", () => {
    const reference = { ...REFERENCE, guestPolicy: undefined };
    const policy = 0x3ff_0000n & ~(1n << 18n) & ~(1n << 19n);
    expect(() => validateSnp(hardware({ policy }), reference)).not.toThrow();
    expect(() => validateSnp(hardware({ policy: policy | (1n << 18n) }), reference)).toThrow(
      refusal("guest_policy_mismatch", "POLICY.MigrateMA"),
    );
  });

  test("the ABI version of the policy is a minimum", () => {
    const verified = hardware({ policy: 0x3_0000n | (1n << 8n) | 31n });
    for (const [ABIMajor, ABIMinor] of [
      [1, 31],
      [1, 30],
      [0, 99],
    ] as const) {
      expect(() =>
        validateSnp(verified, { ...REFERENCE, guestPolicy: { SMT: true, ABIMajor, ABIMinor } }),
      ).not.toThrow();
    }
    for (const [ABIMajor, ABIMinor] of [
      [1, 32],
      [2, 0],
    ] as const) {
      expect(() => validateSnp(verified, { ...REFERENCE, guestPolicy: { SMT: true, ABIMajor, ABIMinor } })).toThrow(
        refusal("guest_policy_mismatch", "POLICY.ABI"),
      );
    }
  });

  describe.each(Object.entries(GUEST_POLICY).filter(([name]) => name !== "Debug"))(
    "POLICY.%s",
    (name, { bit, rule }) => {
      const off = 1n << 17n;
      const on = off | (1n << BigInt(bit));

      test(`is a ${rule}`, () => {
        const wanted = { ...REFERENCE, guestPolicy: { [name]: true } };
        const unwanted = { ...REFERENCE, guestPolicy: { [name]: false } };
        const left = { ...REFERENCE, guestPolicy: {} };
        const refused = refusal("guest_policy_mismatch", `POLICY.${name}`);
        expect(() => validateSnp(hardware({ policy: on }), wanted)).not.toThrow();
        expect(() => validateSnp(hardware({ policy: off }), unwanted)).not.toThrow();
        expect(() => validateSnp(hardware({ policy: off }), left)).not.toThrow();
        if (rule === "permission") {
          expect(() => validateSnp(hardware({ policy: on }), unwanted)).toThrow(refused);
          expect(() => validateSnp(hardware({ policy: on }), left)).toThrow(refused);
          expect(() => validateSnp(hardware({ policy: off }), wanted)).not.toThrow();
        } else {
          expect(() => validateSnp(hardware({ policy: off }), wanted)).toThrow(refused);
          expect(() => validateSnp(hardware({ policy: on }), unwanted)).not.toThrow();
        }
      });
    },
  );

  describe.each(Object.entries(PLATFORM_INFO))("PLATFORM_INFO.%s", (name, { bit, rule }) => {
    const on = 1n << BigInt(bit);

    test(`is a ${rule}`, () => {
      const wanted = { ...REFERENCE, platformInfo: { [name]: true } };
      const unwanted = { ...REFERENCE, platformInfo: {} };
      const refused = refusal("platform_info_mismatch", `PLATFORM_INFO.${name}`);
      expect(() => validateSnp(hardware({ platformInfo: on }), wanted)).not.toThrow();
      expect(() => validateSnp(hardware({ platformInfo: 0n }), unwanted)).not.toThrow();
      const [weak, reference, strong, other] =
        rule === "permission" ? [on, unwanted, 0n, wanted] : [0n, wanted, on, unwanted];
      expect(() => validateSnp(hardware({ platformInfo: weak }), reference)).toThrow(refused);
      expect(() => validateSnp(hardware({ platformInfo: strong }), other)).not.toThrow();
    });
  });

  test("without platform info, anything passes; bits without a meaning always do", () => {
    const all = hardware({ platformInfo: 0xffff_ffff_ffff_ffffn });
    expect(() => validateSnp(all, { ...REFERENCE, platformInfo: undefined })).not.toThrow();
    const reserved = hardware({ platformInfo: 0x25n | (1n << 6n) | (1n << 8n) });
    expect(() => validateSnp(reserved, REFERENCE)).not.toThrow();
  });

  describe.each(["COMMITTED_TCB", "LAUNCH_TCB"] as const)("%s", (field) => {
    const name = field === "COMMITTED_TCB" ? "committedTcb" : "launchTcb";
    // Nobody has committed to more than runs.
    const currentTcb = encodeTcb({ fmc: 0, bootloader: 255, tee: 255, snp: 255, microcode: 255 }, "Milan");

    test.each(["bootloader", "snp", "microcode"] as const)("below the minimum in %s is refused", (part) => {
      const tcb = { ...REFERENCE.minimumTcb, fmc: 0 };
      const low = encodeTcb({ ...tcb, [part]: tcb[part] - 1, tee: 255 }, "Milan");
      expect(() => validateSnp(hardware({ currentTcb, [name]: low }), REFERENCE)).toThrow(
        refusal("tcb_too_low", `${field}.${part}`),
      );
      const high = encodeTcb({ ...tcb, [part]: tcb[part] + 1 }, "Milan");
      expect(() => validateSnp(hardware({ currentTcb, [name]: high }), REFERENCE)).not.toThrow();
    });

    test("below the minimum in tee is refused", () => {
      const reference = { ...REFERENCE, minimumTcb: { ...REFERENCE.minimumTcb, tee: 1 } };
      const low = encodeTcb({ fmc: 0, bootloader: 255, tee: 0, snp: 255, microcode: 255 }, "Milan");
      const enough = encodeTcb({ fmc: 0, bootloader: 255, tee: 1, snp: 255, microcode: 255 }, "Milan");
      const tcbs = { currentTcb, committedTcb: enough, launchTcb: enough };
      expect(() => validateSnp(hardware({ ...tcbs, [name]: low }), reference)).toThrow(
        refusal("tcb_too_low", `${field}.tee`),
      );
      expect(() => validateSnp(hardware(tcbs), reference)).not.toThrow();
    });

    test("is read in the layout of the product, on Turin with FMC", () => {
      const turin = verifySnp(makeEvidence(vendor, { product: "Turin" }), {
        trustAnchors: asVendorRoot(vendor, "Turin"),
        at: NOW,
      });
      const reference = { ...REFERENCE, productName: "Turin" } as const;
      expect(() => validateSnp(turin, { ...reference, minimumTcb: TURIN_TCB })).not.toThrow();
      const raise = (part: TcbPart): SnpReferenceValues => ({
        ...reference,
        minimumTcb: { ...TURIN_TCB, [part]: TURIN_TCB[part] + 1 },
      });
      for (const part of TCB_PARTS) {
        expect(() => validateSnp(turin, raise(part))).toThrow(refusal("tcb_too_low", `COMMITTED_TCB.${part}`));
      }
    });
  });

  test("a list of chips allows those and no others", () => {
    const other = Buffer.alloc(64, 2);
    expect(() => validateSnp(hardware(), { ...REFERENCE, allowedChipIds: [other, chipId] })).not.toThrow();
    expect(() => validateSnp(hardware(), { ...REFERENCE, allowedChipIds: [other] })).toThrow(
      refusal("chip_not_allowed", "CHIP_ID"),
    );
  });

  test("a software TEE never passes for hardware", () => {
    expect(() => validateSnp(simulated(), REFERENCE)).toThrow(refusal("untrusted_root", "root"));
  });
});

describe("software TEE", () => {
  const reference = (): Parameters<typeof validateSimulated>[1] => ({
    rootDigest: vendor.rootDigest,
    image: { kind: "measured", measurement },
  });

  test("the one that the manifest names passes", () => {
    expect(() => validateSimulated(simulated(), reference())).not.toThrow();
  });

  test("one of another root is refused", () => {
    const other = { ...reference(), rootDigest: "00".repeat(32) };
    expect(() => validateSimulated(simulated(), other)).toThrow(refusal("untrusted_root", "root"));
  });

  test("hardware never passes for a software TEE, even of the same digest", () => {
    expect(() => validateSimulated(hardware(), reference())).toThrow(refusal("untrusted_root", "root"));
  });

  test.each([
    ["another measurement", { measurement: Buffer.alloc(48, 1) }, "measurement_mismatch", "MEASUREMENT"],
    ["a debug policy", { policy: 0xb0000n }, "debug_allowed", "POLICY.Debug"],
    ["another VMPL", { vmpl: 1 }, "vmpl_mismatch", "VMPL"],
  ] as const)("%s is refused", (_, report, code, where) => {
    expect(() => validateSimulated(simulated(report), reference())).toThrow(refusal(code, where));
  });
});
