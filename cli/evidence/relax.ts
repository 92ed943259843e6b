import type { Manifest } from "../../manifest/manifest.ts";
import type { EvidenceOptions } from "./request.ts";

/** What a reference value without a guest policy lets pass: anything but debugging and migration. */
const NO_GUEST_POLICY = { SMT: true, CXLAllowed: true } as const;

/** The manifest, and what the command line allows beyond it. */
export function relax(
  manifest: Manifest,
  { allowDebug, allowTcbStatus = [] }: Pick<EvidenceOptions, "allowDebug" | "allowTcbStatus">,
): Manifest {
  const { snp, tdx, insecure } = manifest.referenceValues;
  return {
    ...manifest,
    referenceValues: {
      insecure,
      snp: snp.map((values) =>
        allowDebug === true
          ? { ...values, guestPolicy: { ...(values.guestPolicy ?? NO_GUEST_POLICY), Debug: true } }
          : values,
      ),
      tdx: tdx.map((values) => ({
        ...values,
        allowDebug: allowDebug === true,
        allowedTcbStatuses: [...(values.allowedTcbStatuses ?? []), ...allowTcbStatus],
      })),
    },
  };
}
