import { beforeAll, describe, expect, test } from "vitest";
import { encodeDer, encodeInteger } from "../../pki/der-writer.ts";
import { refusal } from "../test-refusal.ts";
import { TAG } from "../../pki/der.ts";
import { AMD_OID } from "./certificate.ts";
import { GUEST_POLICY, PLATFORM_INFO } from "./flags.ts";
import type { SnpProduct } from "./product.ts";
import type { SnpReportFields } from "./report.ts";
import { simulatedRoots } from "./roots.ts";
import { encodeTcb, type Tcb, TCB_PARTS, type TcbPart } from "./tcb.ts";
import {
  asVendorRoot,
  createTestVendor,
  makeEvidence,
  NOW,
  reportOf,
  type TestVendor,
  TURIN_TCB,
  vcek,
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

/** A report that the key of this TCB signed. What else it says is as the vendor's firmware would, or as it is told. */
function signedAt(product: SnpProduct, tcb: Tcb, report: Partial<SnpReportFields> = {}): VerifiedSnpReport {
  const parts = TCB_PARTS.filter((part) => part !== "fmc" || product === "Turin");
  const extensions = vcek(product, Object.fromEntries(parts.map((part) => [AMD_OID[part], encodeInteger(tcb[part])])));
  const reportedTcb = encodeTcb(tcb, product);
  const evidence = makeEvidence(vendor, { product, leaf: { extensions }, report: { reportedTcb, ...report } });
  return verifySnp(evidence, { trustAnchors: asVendorRoot(vendor, product), at: NOW });
}

function simulated(report: Partial<SnpReportFields> = {}): VerifiedSnpReport {
  const trustAnchors = simulatedRoots([vendor.rootDigest]);
  return verifySnp(makeEvidence(vendor, { report }), { trustAnchors, at: NOW });
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
      const minimumTcb = { ...REFERENCE.minimumTcb, tee: 1 };
      const reference = { ...REFERENCE, minimumTcb };
      const low = encodeTcb({ fmc: 0, bootloader: 255, tee: 0, snp: 255, microcode: 255 }, "Milan");
      const enough = encodeTcb({ fmc: 0, bootloader: 255, tee: 1, snp: 255, microcode: 255 }, "Milan");
      const tcbs = { currentTcb, committedTcb: enough, launchTcb: enough };
      const of = (report: Partial<SnpReportFields>) => signedAt("Milan", { ...minimumTcb, fmc: 0 }, report);
      expect(() => validateSnp(of({ ...tcbs, [name]: low }), reference)).toThrow(
        refusal("tcb_too_low", `${field}.tee`),
      );
      expect(() => validateSnp(of(tcbs), reference)).not.toThrow();
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

  describe("the TCB of the signing key", () => {
    const HIGH = { fmc: 255, bootloader: 255, tee: 255, snp: 255, microcode: 255 };
    const MINIMUM = { Milan: { ...REFERENCE.minimumTcb, fmc: 0, tee: 2 }, Turin: TURIN_TCB } as const;

    /** What the holder of a key of old firmware writes: nothing but REPORTED_TCB has to be true. */
    function forged(product: "Milan" | "Turin", tcb: Tcb): () => void {
      const high = encodeTcb(HIGH, product);
      const verified = signedAt(product, tcb, { currentTcb: high, committedTcb: high, launchTcb: high });
      const reference = { ...REFERENCE, productName: product, minimumTcb: MINIMUM[product] };
      return () => validateSnp(verified, reference);
    }

    test("is the one that is proven: who has the key of broken firmware writes any other", () => {
      expect(forged("Milan", { fmc: 0, bootloader: 1, tee: 0, snp: 3, microcode: 10 })).toThrow(
        refusal("tcb_too_low", "REPORTED_TCB.bootloader"),
      );
    });

    test.each(["Milan", "Turin"] as const)("on %s passes at the minimum, and is refused one below", (product) => {
      const minimum = MINIMUM[product];
      expect(forged(product, minimum)).not.toThrow();
      for (const part of TCB_PARTS.filter((part) => minimum[part] > 0)) {
        const low = { ...minimum, [part]: minimum[part] - 1 };
        expect(forged(product, low)).toThrow(refusal("tcb_too_low", `REPORTED_TCB.${part}`));
        expect(forged(product, { ...HIGH, fmc: product === "Turin" ? 255 : 0, [part]: minimum[part] - 1 })).toThrow(
          refusal("tcb_too_low", `REPORTED_TCB.${part}`),
        );
      }
    });

    test("counts whatever the version of the report", () => {
      const low = { ...MINIMUM.Milan, snp: MINIMUM.Milan.snp - 1 };
      const high = encodeTcb(HIGH, "Milan");
      for (const [version, cpuid, mitigations] of [
        [2, undefined, undefined],
        [3, { family: 0x19, model: 1, stepping: 1 }, undefined],
        [5, { family: 0x19, model: 1, stepping: 1 }, { launch: 0n, current: 0n }],
      ] as const) {
        const others = { version, cpuid, mitigations, currentTcb: high, committedTcb: high, launchTcb: high };
        const reference = { ...REFERENCE, minimumTcb: MINIMUM.Milan };
        expect(() => validateSnp(signedAt("Milan", low, others), reference)).toThrow(
          refusal("tcb_too_low", "REPORTED_TCB.snp"),
        );
        expect(() => validateSnp(signedAt("Milan", MINIMUM.Milan, others), reference)).not.toThrow();
      }
    });
  });

  describe("the kind of the signing key", () => {
    function vlekOf(cspId: string): VerifiedSnpReport {
      const extensions = vcek("Milan", {
        [AMD_OID.hwid]: undefined,
        [AMD_OID.cspId]: encodeDer(TAG.ia5String, Buffer.from(cspId)),
      });
      const evidence = makeEvidence(vendor, { kind: "vlek", leaf: { extensions } });
      return verifySnp(evidence, { trustAnchors: asVendorRoot(vendor, "Milan"), at: NOW });
    }
    const VLEK = { ...REFERENCE, signingKey: { kind: "vlek", cspId: "cloud.example" } } as const;

    test.each([undefined, { kind: "vcek" }] as const)("VLEK is refused where the manifest says %o", (signingKey) => {
      expect(() => validateSnp(vlekOf("cloud.example"), { ...REFERENCE, signingKey })).toThrow(
        refusal("signing_key_not_allowed", "SIGNING_KEY"),
      );
      expect(() => validateSnp(hardware(), { ...REFERENCE, signingKey })).not.toThrow();
    });

    test("VLEK passes where the manifest names it with its cloud, and then no chip's own key does", () => {
      expect(() => validateSnp(vlekOf("cloud.example"), VLEK)).not.toThrow();
      expect(() => validateSnp(hardware(), VLEK)).toThrow(refusal("signing_key_not_allowed", "SIGNING_KEY"));
    });

    test.each(["other.example", "cloud.example ", "CLOUD.EXAMPLE", "cloud.exampl", " "])(
      "VLEK of another cloud is refused (%j)",
      (cspId) => {
        expect(() => validateSnp(vlekOf(cspId), VLEK)).toThrow(refusal("signing_key_not_allowed", "CSP_ID"));
      },
    );

    test("a list of chips never lets a VLEK in, which belongs to none", () => {
      const reference = { ...REFERENCE, allowedChipIds: [Buffer.alloc(64)] };
      expect(() => validateSnp(vlekOf("cloud.example"), reference)).toThrow(
        refusal("signing_key_not_allowed", "SIGNING_KEY"),
      );
    });
  });

  describe("mitigation vectors", () => {
    const of = (mitigations: SnpReportFields["mitigations"], version = 5): VerifiedSnpReport =>
      hardware({ version, mitigations });
    const asking = (minimumMitigationVector: number): SnpReferenceValues => ({ ...REFERENCE, minimumMitigationVector });

    test("have to have every bit that is named, at launch and now", () => {
      const minimum = asking(0b101);
      expect(() => validateSnp(of({ launch: 0b101n, current: 0b101n }), minimum)).not.toThrow();
      expect(() => validateSnp(of({ launch: 0b111n, current: 2n ** 64n - 1n }), minimum)).not.toThrow();
      for (const low of [0n, 0b001n, 0b100n, 0b110n, 0b1000n, 2n ** 63n]) {
        expect(() => validateSnp(of({ launch: low, current: 0b101n }), minimum)).toThrow(
          refusal("mitigation_missing", "LAUNCH_MIT_VECTOR"),
        );
        expect(() => validateSnp(of({ launch: 0b101n, current: low }), minimum)).toThrow(
          refusal("mitigation_missing", "CURRENT_MIT_VECTOR"),
        );
      }
    });

    test.each([0, 1])("a report of an earlier version has none to show, so %i refuses it", (minimum) => {
      const v2 = hardware({ version: 2, cpuid: undefined });
      for (const verified of [v2, of(undefined, 3), of(undefined, 4)]) {
        expect(() => validateSnp(verified, asking(minimum))).toThrow(refusal("mitigation_missing", "VERSION"));
        expect(() => validateSnp(verified, REFERENCE)).not.toThrow();
      }
      expect(() =>
        validateSnp(of({ launch: BigInt(minimum), current: BigInt(minimum) }), asking(minimum)),
      ).not.toThrow();
    });
  });

  test.each([2, 3, 4, 5])("a flag that a report of version %i may not know is required all the same", (version) => {
    const cpuid = version === 2 ? undefined : { family: 0x19, model: 1, stepping: 1 };
    const mitigations = version === 5 ? { launch: 0n, current: 0n } : undefined;
    const verified = hardware({ version, cpuid, mitigations, platformInfo: 0n, policy: 1n << 17n });
    for (const [name] of Object.entries(PLATFORM_INFO).filter(([, { rule }]) => rule === "requirement")) {
      const reference = { ...REFERENCE, platformInfo: { [name]: true } };
      expect(() => validateSnp(verified, reference)).toThrow(
        refusal("platform_info_mismatch", `PLATFORM_INFO.${name}`),
      );
    }
    for (const [name] of Object.entries(GUEST_POLICY).filter(([, { rule }]) => rule === "requirement")) {
      const reference = { ...REFERENCE, guestPolicy: { [name]: true } };
      expect(() => validateSnp(verified, reference)).toThrow(refusal("guest_policy_mismatch", `POLICY.${name}`));
    }
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
