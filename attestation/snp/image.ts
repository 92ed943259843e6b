import { isEqual, toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import type { SnpReport } from "./report.ts";

/**
 * Which images a VM may have been launched with: one, by its measurement, or all that somebody signed.
 *
 * An image is signed by its ID block (AMD publication 56860, SNP_LAUNCH_FINISH): launch digest, policy, FAMILY_ID,
 * IMAGE_ID and GUEST_SVN under the signature of the ID key, which the author key may have signed in turn. The firmware
 * starts the VM only if the signatures verify and the digest is that of the VM's memory, and reports who signed. So
 * FAMILY_ID, IMAGE_ID and GUEST_SVN are the signer's word about this very image, and the host can't mix them with those
 * of another. Without an ID block nobody vouches for them, and the report has zeros for the keys.
 */
export type TrustedImage =
  | {
      readonly kind: "measured";
      /** 48 bytes. */
      readonly measurement: Uint8Array;
    }
  | SignedImages;

/** All images of a product from a security version on, as SignerID, ProductID and SecurityVersion are to SGX. */
interface SignedImages {
  readonly kind: "signed";
  readonly signer: ImageSigner;
  /** 16 bytes. */
  readonly familyId: Uint8Array;
  /** 16 bytes. */
  readonly imageId: Uint8Array;
  /** u32. */
  readonly minimumGuestSvn: number;
}

/**
 * SHA-384 of public keys in the ABI's form, 48 bytes that are not all zero. Where both are named, both have to match;
 * with the author's alone, every ID key that the author signed is good.
 */
export type ImageSigner =
  | { readonly idKeyDigest: Uint8Array; readonly authorKeyDigest?: Uint8Array | undefined }
  | { readonly idKeyDigest?: undefined; readonly authorKeyDigest: Uint8Array };

/** @throws EvidenceError measurement_mismatch, image_mismatch, guest_svn_too_low */
export function checkImage(report: SnpReport, trusted: TrustedImage): void {
  if (trusted.kind === "signed") return checkSignedImage(report, trusted);
  if (isEqual(report.measurement, trusted.measurement)) return;
  throw new EvidenceError("measurement_mismatch", "the VM was launched with another image", {
    where: "MEASUREMENT",
    got: toHex(report.measurement),
    want: toHex(trusted.measurement),
  });
}

function checkSignedImage(report: SnpReport, { signer, familyId, imageId, minimumGuestSvn }: SignedImages): void {
  if (signer.idKeyDigest !== undefined) checkField("ID_KEY_DIGEST", report.idKeyDigest, signer.idKeyDigest);
  if (signer.authorKeyDigest !== undefined) {
    // Without this bit nobody has verified the author's signature, whatever the digest is.
    if (!report.authorKeyEnabled) throw imageMismatch("AUTHOR_KEY_EN", "0", "1");
    checkField("AUTHOR_KEY_DIGEST", report.authorKeyDigest, signer.authorKeyDigest);
  }
  checkField("FAMILY_ID", report.familyId, familyId);
  checkField("IMAGE_ID", report.imageId, imageId);
  if (report.guestSvn >= minimumGuestSvn) return;
  throw new EvidenceError("guest_svn_too_low", "the image is older than the manifest allows", {
    where: "GUEST_SVN",
    got: `${report.guestSvn}`,
    want: `at least ${minimumGuestSvn}`,
    hint: "launch the VM with a newer image",
  });
}

function checkField(where: string, got: Uint8Array, want: Uint8Array): void {
  if (!isEqual(got, want)) throw imageMismatch(where, toHex(got), toHex(want));
}

function imageMismatch(where: string, got: string, want: string): EvidenceError {
  return new EvidenceError("image_mismatch", "the VM was not launched with an image of the signer and product", {
    where,
    got,
    want,
    hint: "launch the VM with the ID block that the signer of the image made for it",
  });
}
