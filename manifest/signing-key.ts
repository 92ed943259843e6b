import * as z from "zod/mini";
import type { Faults } from "./schema.ts";
import { isCspId } from "../attestation/snp/certificate.ts";
import type { SnpSigningKey } from "../attestation/snp/validate.ts";

/**
 * The keys that say whose key signs the reports: each chip's own, or one that all machines of a cloud service provider
 * have. The latter belongs to no chip, so it needs the provider's name and can't be narrowed down to chips.
 */

const KINDS = ["VCEK", "VLEK"] as const;
const WANT_CSP = "the CSP_ID of the VLEK certificates: 1 to 255 printable characters of ASCII";

/** To be spread into a record. */
export const SIGNING_KEY_KEYS = {
  SigningKey: z.optional(z.enum(KINDS, { error: KINDS.join(" or ") })),
  CSPID: z.optional(z.string({ error: WANT_CSP }).check(z.refine(isCspId, { error: WANT_CSP }))),
};

type SigningKeyKeys = z.output<z.ZodMiniObject<typeof SIGNING_KEY_KEYS>>;

/** For a transformation: what is wrong goes to its context. */
export function signingKey(
  values: SigningKeyKeys & { readonly AllowedChipIDs?: readonly Uint8Array[] | undefined },
  context: Faults,
): SnpSigningKey {
  const fault = (key: "CSPID" | "AllowedChipIDs", want: string): void => {
    context.issues.push({ code: "custom", path: [key], message: want, input: values });
  };
  const { SigningKey = "VCEK", CSPID, AllowedChipIDs = [] } = values;
  if (SigningKey === "VCEK") {
    if (CSPID !== undefined) fault("CSPID", "nothing without SigningKey VLEK");
    return { kind: "vcek" };
  }
  if (AllowedChipIDs.length > 0) fault("AllowedChipIDs", "nothing with SigningKey VLEK, which belongs to no chip");
  if (CSPID === undefined) {
    fault("CSPID", `${WANT_CSP}, because SigningKey is VLEK`);
    return z.NEVER;
  }
  return { kind: "vlek", cspId: CSPID };
}
