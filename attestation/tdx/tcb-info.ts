import * as z from "zod/mini";
import { fromHex } from "../../bytes/hex.ts";

/**
 * TCB info, version 3, and the identity of the quoting enclave, version 2 (Intel PCS API, version 4). They are read only
 * after their signature was verified, so a key that is not known is Intel's own, and is passed over: Intel adds keys
 * without a new version, as it did with `tdxModuleIdentities`, and bumps the version where the meaning changes.
 */

/** Of a platform. */
const PLATFORM_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const;
export type PlatformStatus = (typeof PLATFORM_STATUSES)[number];

/** Of the TDX module and of the quoting enclave. */
const COMPONENT_STATUSES = ["UpToDate", "OutOfDate", "Revoked"] as const;

const date = z.pipe(
  z.iso.datetime({ error: "a time in UTC" }),
  z.transform((text) => new Date(text)),
);
const svn = numberUpTo(255);
const u16 = numberUpTo(0xffff);
const components = z.array(z.object({ svn })).check(z.length(16, { error: "16 components" }));
const advisoryIDs = z._default(z.array(z.string()), []);

const validity = { issueDate: date, nextUpdate: date };
/** Of both documents: Intel's assessments, counted. A higher one knows of more weaknesses. */
const evaluation = { tcbEvaluationDataNumber: numberUpTo(Number.MAX_SAFE_INTEGER) };

const componentLevel = z.object({
  tcb: z.object({ isvsvn: u16 }),
  tcbStatus: z.enum(COMPONENT_STATUSES, { error: COMPONENT_STATUSES.join(" or ") }),
  advisoryIDs,
});

const module = { mrsigner: hex(48), attributes: hex(8), attributesMask: hex(8) };

const platformLevel = z.object({
  tcb: z.object({ sgxtcbcomponents: components, tdxtcbcomponents: components, pcesvn: u16 }),
  tcbStatus: z.enum(PLATFORM_STATUSES, { error: PLATFORM_STATUSES.join(" or ") }),
  advisoryIDs,
});

export const tcbInfoSchema = z.object({
  id: z.literal("TDX", { error: "TDX" }),
  version: z.literal(3, { error: "3" }),
  ...validity,
  ...evaluation,
  fmspc: hex(6),
  pceId: hex(2),
  // Says how components are compared.
  tcbType: z.literal(0, { error: "0" }),
  tdxModule: z.object(module),
  tdxModuleIdentities: z._default(
    z.array(z.object({ id: z.string(), ...module, tcbLevels: z.array(componentLevel) })),
    [],
  ),
  tcbLevels: z.array(platformLevel),
});

export const qeIdentitySchema = z.object({
  id: z.literal("TD_QE", { error: "TD_QE" }),
  version: z.literal(2, { error: "2" }),
  ...validity,
  ...evaluation,
  // In the order of the bytes in a report.
  miscselect: hex(4),
  miscselectMask: hex(4),
  attributes: hex(16),
  attributesMask: hex(16),
  mrsigner: hex(32),
  isvprodid: u16,
  tcbLevels: z.array(componentLevel),
});

export type TcbInfo = z.infer<typeof tcbInfoSchema>;
export type QeIdentity = z.infer<typeof qeIdentitySchema>;
export type PlatformLevel = z.infer<typeof platformLevel>;
export type ComponentLevel = z.infer<typeof componentLevel>;
export type ModuleIdentity = Pick<TcbInfo["tdxModule"], "mrsigner" | "attributes" | "attributesMask">;

function numberUpTo(most: number): z.ZodMiniNumberFormat {
  const error = `a number from 0 to ${most}`;
  return z.int({ error }).check(z.minimum(0, { error }), z.maximum(most, { error }));
}

/** Bytes in hexadecimal of either case: Intel's documents use both. */
function hex(length: number): z.ZodMiniType<Buffer> {
  const error = `${length * 2} hexadecimal digits`;
  return z.pipe(
    z.string({ error }).check(z.refine((text) => fromHex(text, length) !== undefined, { error })),
    z.transform((text) => Buffer.from(text, "hex")),
  );
}
