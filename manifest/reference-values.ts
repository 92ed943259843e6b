import * as z from "zod/mini";
import { GUEST_POLICY, PLATFORM_INFO } from "../attestation/snp/flags.ts";
import { SNP_PRODUCTS } from "../attestation/snp/product.ts";
import type { SimulatedReferenceValues, SnpReferenceValues } from "../attestation/snp/validate.ts";
import { MIGRATABLE, TUD } from "../attestation/tdx/attributes.ts";
import { ALLOWABLE_TCB_STATUSES } from "../attestation/tdx/tcb-status.ts";
import type { TdxReferenceValues } from "../attestation/tdx/validate.ts";
import { toHex } from "../bytes/encode.ts";
import { littleEndian64 } from "../bytes/numbers.ts";
import { byte, digest384, flag, hexBytes, list, record, u32, u53 } from "./schema.ts";
import { SIGNING_KEY_KEYS, signingKey } from "./signing-key.ts";
import { IMAGE_KEYS, trustedImage } from "./trusted-image.ts";

/**
 * What a VM may look like, by kind of TEE (docs/design.md §6). The names of the flags are those of go-sev-guest's
 * SnpPolicy and SnpPlatformInfo. A placeholder that nobody filled in has the wrong length or type, so it never matches
 * anything.
 */
export interface ReferenceValues {
  readonly snp: readonly SnpReferenceValues[];
  readonly tdx: readonly TdxReferenceValues[];
  /** The software TEE. Its evidence proves nothing, so it stands apart from all others. */
  readonly insecure: readonly SimulatedReferenceValues[];
}

export type ReferenceValueOf<K extends keyof ReferenceValues> = ReferenceValues[K][number];

const minimumTcb = z.pipe(
  record({
    BootloaderVersion: byte,
    TEEVersion: byte,
    SNPVersion: byte,
    MicrocodeVersion: byte,
    FMCVersion: z.optional(byte),
  }),
  z.transform((tcb) => ({
    bootloader: tcb.BootloaderVersion,
    tee: tcb.TEEVersion,
    snp: tcb.SNPVersion,
    microcode: tcb.MicrocodeVersion,
    fmc: tcb.FMCVersion,
  })),
);

const snpKeys = record({
  ProductName: z.enum(SNP_PRODUCTS, { error: SNP_PRODUCTS.join(" or ") }),
  ...IMAGE_KEYS,
  ...SIGNING_KEY_KEYS,
  MinimumTCB: minimumTcb,
  MinimumMitigationVector: z.optional(u53),
  GuestPolicy: z.optional(record({ ABIMajor: z.optional(byte), ABIMinor: z.optional(byte), ...flags(GUEST_POLICY) })),
  PlatformInfo: z.optional(record(flags(PLATFORM_INFO))),
  AllowedChipIDs: z.optional(list(hexBytes(64))),
}).check(
  z.refine(({ ProductName, MinimumTCB }) => (MinimumTCB.fmc === undefined) === (ProductName !== "Turin"), {
    // A Turin without it would be accepted with any; nothing compares that of another product.
    error: "a number for Turin, nothing for another product",
    path: ["MinimumTCB", "FMCVersion"],
  }),
);

const snp = z.pipe(
  snpKeys,
  z.transform((values, context): SnpReferenceValues => ({
    productName: values.ProductName,
    image: trustedImage(values, context),
    signingKey: signingKey(values, context),
    minimumTcb: values.MinimumTCB,
    minimumMitigationVector: values.MinimumMitigationVector,
    guestPolicy: values.GuestPolicy,
    platformInfo: values.PlatformInfo,
    allowedChipIds: values.AllowedChipIDs ?? [],
  })),
);

/** What never passes must not look as if it could be asked for. */
const tdAttributes = hexBytes(8).check(
  z.refine((bytes) => (littleEndian64(bytes) & (TUD | MIGRATABLE)) === 0n, {
    error: "16 hexadecimal digits without a bit of the group TUD (the first byte) and without MIGRATABLE (bit 29)",
  }),
);

const tdx = z.pipe(
  record({
    MrTd: digest384,
    MrSeam: digest384,
    Rtmrs: list(digest384).check(z.length(4, { error: "a list of 4" })),
    Xfam: hexBytes(8),
    TdAttributes: z.optional(tdAttributes),
    MrOwner: z.optional(digest384),
    MrOwnerConfig: z.optional(digest384),
    MrServiceTd: z.optional(digest384),
    MinimumTeeTcbSvn: hexBytes(16),
    AllowedTcbStatuses: z.optional(
      list(z.enum(ALLOWABLE_TCB_STATUSES, { error: ALLOWABLE_TCB_STATUSES.join(" or ") })),
    ),
    MinimumTCBEvaluationDataNumber: z.optional(u32),
    AllowedPIIDs: z.optional(list(hexBytes(16))),
    MemoryIntegrity: z.optional(flag),
    SMTDisabled: z.optional(flag),
    StaticPlatform: z.optional(flag),
  }),
  z.transform((values): TdxReferenceValues => ({
    mrTd: values.MrTd,
    mrSeam: values.MrSeam,
    rtmrs: values.Rtmrs,
    xfam: values.Xfam,
    tdAttributes: values.TdAttributes,
    mrOwner: values.MrOwner,
    mrOwnerConfig: values.MrOwnerConfig,
    mrServiceTd: values.MrServiceTd,
    minimumTeeTcbSvn: values.MinimumTeeTcbSvn,
    allowedTcbStatuses: values.AllowedTcbStatuses,
    minimumTcbEvaluationDataNumber: values.MinimumTCBEvaluationDataNumber,
    allowedPiids: values.AllowedPIIDs ?? [],
    memoryIntegrity: values.MemoryIntegrity,
    smtDisabled: values.SMTDisabled,
    staticPlatform: values.StaticPlatform,
  })),
);

const simulated = z.pipe(
  record({ RootDigest: hexBytes(32), ...IMAGE_KEYS }),
  z.transform((values, context): SimulatedReferenceValues => ({
    rootDigest: toHex(values.RootDigest),
    image: trustedImage(values, context),
  })),
);

const SETS = {
  snp: z._default(list(snp), []),
  tdx: z._default(list(tdx), []),
  insecure: z._default(list(simulated), []),
} satisfies Readonly<Record<keyof ReferenceValues, z.ZodMiniType>>;

/** The keys, in the order in which they are written. */
export const REFERENCE_VALUE_KEYS = Object.keys(SETS) as readonly (keyof ReferenceValues)[];

export const referenceValuesSchema = record(SETS).check(
  z.refine((sets) => Object.values(sets).some(({ length }) => length > 0), {
    // Nothing would match, ever: a manifest that nobody finished.
    error: "at least one set under snp, tdx or insecure",
  }),
);

function flags<F extends object>(names: F): { readonly [Name in keyof F]: z.ZodMiniOptional<typeof flag> } {
  const entries = Object.keys(names).map((name) => [name, z.optional(flag)]);
  return Object.fromEntries(entries) as { [Name in keyof F]: z.ZodMiniOptional<typeof flag> };
}
