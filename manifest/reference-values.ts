import { z } from "zod";
import { GUEST_POLICY, PLATFORM_INFO } from "../attestation/snp/flags.ts";
import { SNP_PRODUCTS } from "../attestation/snp/product.ts";
import type { SimulatedReferenceValues, SnpReferenceValues } from "../attestation/snp/validate.ts";
import { ALLOWABLE_TCB_STATUSES } from "../attestation/tdx/tcb-status.ts";
import type { TdxReferenceValues } from "../attestation/tdx/validate.ts";
import { byte, digest384, flag, hexBytes, list, record } from "./schema.ts";
import { IMAGE_KEYS, trustedImage } from "./trusted-image.ts";

/**
 * What a VM may look like, by kind of TEE (design §6). The names of the flags are those of go-sev-guest's SnpPolicy and
 * SnpPlatformInfo. A placeholder that nobody filled in has the wrong length or type, so it never matches anything.
 */
export interface ReferenceValues {
  readonly snp: readonly SnpReferenceValues[];
  readonly tdx: readonly TdxReferenceValues[];
  readonly insecure: readonly InsecureReferenceValues[];
}

/** The software TEE. Its evidence proves nothing, so it stands apart from all others. */
export type InsecureReferenceValues = SimulatedReferenceValues;

const minimumTcb = record({
  BootloaderVersion: byte,
  TEEVersion: byte,
  SNPVersion: byte,
  MicrocodeVersion: byte,
  FMCVersion: byte.optional(),
}).transform((tcb) => ({
  bootloader: tcb.BootloaderVersion,
  tee: tcb.TEEVersion,
  snp: tcb.SNPVersion,
  microcode: tcb.MicrocodeVersion,
  fmc: tcb.FMCVersion,
}));

const snp = record({
  ProductName: z.enum(SNP_PRODUCTS, { error: SNP_PRODUCTS.join(" or ") }),
  ...IMAGE_KEYS,
  MinimumTCB: minimumTcb,
  GuestPolicy: record({ ABIMajor: byte.optional(), ABIMinor: byte.optional(), ...flags(GUEST_POLICY) }).optional(),
  PlatformInfo: record(flags(PLATFORM_INFO)).optional(),
  AllowedChipIDs: list(hexBytes(64)).optional(),
})
  .refine(({ ProductName, MinimumTCB }) => (MinimumTCB.fmc === undefined) === (ProductName !== "Turin"), {
    // A Turin without it would be accepted with any; nothing compares that of another product.
    error: "a number for Turin, nothing for another product",
    path: ["MinimumTCB", "FMCVersion"],
  })
  .transform((values, context): SnpReferenceValues => ({
    productName: values.ProductName,
    image: trustedImage(values, context),
    minimumTcb: values.MinimumTCB,
    guestPolicy: values.GuestPolicy,
    platformInfo: values.PlatformInfo,
    allowedChipIds: values.AllowedChipIDs ?? [],
  }));

const tdx = record({
  MrTd: digest384,
  MrSeam: digest384,
  Rtmrs: list(digest384).length(4, { error: "a list of 4" }),
  Xfam: hexBytes(8),
  MinimumTeeTcbSvn: hexBytes(16),
  AllowedTcbStatuses: list(z.enum(ALLOWABLE_TCB_STATUSES, { error: ALLOWABLE_TCB_STATUSES.join(" or ") })).optional(),
}).transform((values): TdxReferenceValues => ({
  mrTd: values.MrTd,
  mrSeam: values.MrSeam,
  rtmrs: values.Rtmrs,
  xfam: values.Xfam,
  minimumTeeTcbSvn: values.MinimumTeeTcbSvn,
  allowedTcbStatuses: values.AllowedTcbStatuses,
}));

const insecure = record({ RootDigest: hexBytes(32), ...IMAGE_KEYS }).transform(
  (values, context): InsecureReferenceValues => ({
    rootDigest: values.RootDigest.toString("hex"),
    image: trustedImage(values, context),
  }),
);

export const referenceValuesSchema = record({
  snp: list(snp).default([]),
  tdx: list(tdx).default([]),
  insecure: list(insecure).default([]),
}).refine(({ snp, tdx, insecure }) => snp.length + tdx.length + insecure.length > 0, {
  // Nothing would match, ever: a manifest that nobody finished.
  error: "at least one set under snp, tdx or insecure",
});

function flags<F extends object>(names: F): { readonly [Name in keyof F]: z.ZodOptional<typeof flag> } {
  const entries = Object.keys(names).map((name) => [name, flag.optional()]);
  return Object.fromEntries(entries) as { [Name in keyof F]: z.ZodOptional<typeof flag> };
}
