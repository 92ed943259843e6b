import * as z from "zod/mini";
import type { ImageSigner, TrustedImage } from "../attestation/snp/image.ts";
import { digest384, type Faults, hexBytes, u32 } from "./schema.ts";

/**
 * The keys that say which images a set of reference values trusts, in one of two forms: TrustedMeasurement, or who
 * signed them with the product and its lowest security version. A mixture could be read in two ways, so it is refused.
 */

/** A VM that was launched without an ID block reports zeros: such a digest would trust every image. */
const keyDigest = digest384.check(
  z.refine((digest) => digest.some((byte) => byte !== 0), {
    error: "96 hexadecimal digits that are not all zero, as they are of a VM whose image nobody signed",
  }),
);

/** To be spread into a record. */
export const IMAGE_KEYS = {
  TrustedMeasurement: z.optional(digest384),
  IdKeyDigest: z.optional(keyDigest),
  AuthorKeyDigest: z.optional(keyDigest),
  FamilyID: z.optional(hexBytes(16)),
  ImageID: z.optional(hexBytes(16)),
  MinimumGuestSVN: z.optional(u32),
};

type ImageKeys = z.output<z.ZodMiniObject<typeof IMAGE_KEYS>>;

const SIGNER = ["IdKeyDigest", "AuthorKeyDigest"] as const;
const PRODUCT = ["FamilyID", "ImageID", "MinimumGuestSVN"] as const;

/** For a transformation: what is wrong goes to its context. */
export function trustedImage(values: ImageKeys, context: Faults): TrustedImage {
  const fault = (key: keyof ImageKeys, want: string): void => {
    context.issues.push({ code: "custom", path: [key], message: want, input: values });
  };
  const isGiven = (key: keyof ImageKeys): boolean => values[key] !== undefined;
  const { TrustedMeasurement, FamilyID, ImageID, MinimumGuestSVN } = values;
  if (TrustedMeasurement !== undefined) {
    for (const key of [...SIGNER, ...PRODUCT].filter(isGiven)) fault(key, "nothing beside TrustedMeasurement");
    return { kind: "measured", measurement: TrustedMeasurement };
  }
  const signer = signerOf(values);
  if (signer === undefined) {
    const where = PRODUCT.some(isGiven) ? "IdKeyDigest" : "TrustedMeasurement";
    fault(where, `TrustedMeasurement, or ${SIGNER.join(" or ")} with ${PRODUCT.join(", ")}`);
    return z.NEVER;
  }
  if (FamilyID === undefined || ImageID === undefined || MinimumGuestSVN === undefined) {
    const missing = PRODUCT.filter((key) => !isGiven(key));
    for (const key of missing) fault(key, "a value: one key signs many products and versions");
    return z.NEVER;
  }
  return { kind: "signed", signer, familyId: FamilyID, imageId: ImageID, minimumGuestSvn: MinimumGuestSVN };
}

function signerOf({ IdKeyDigest, AuthorKeyDigest }: ImageKeys): ImageSigner | undefined {
  if (IdKeyDigest !== undefined) return { idKeyDigest: IdKeyDigest, authorKeyDigest: AuthorKeyDigest };
  return AuthorKeyDigest && { authorKeyDigest: AuthorKeyDigest };
}
