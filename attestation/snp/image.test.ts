import { expect, test } from "vitest";
import { checkImage, type ImageSigner, type TrustedImage } from "./image.ts";
import { encodeSnpReport, parseSnpReport, type SnpReport, type SnpReportFields } from "./report.ts";
import { reportOf } from "./test-vendor.ts";

const SIGNED = {
  idKeyDigest: Buffer.alloc(48, 0x1d),
  authorKeyDigest: Buffer.alloc(48, 0xa0),
  authorKeyEnabled: true,
  familyId: Buffer.alloc(16, 0xfa),
  imageId: Buffer.alloc(16, 0x1a),
  guestSvn: 6,
};
const UNSIGNED = reportOf("Milan", "vcek");
const { measurement } = UNSIGNED;
const { idKeyDigest, authorKeyDigest, familyId, imageId } = SIGNED;
const measured: TrustedImage = { kind: "measured", measurement };
const signedBy = (signer: ImageSigner, minimumGuestSvn = 6): TrustedImage => ({
  kind: "signed",
  signer,
  familyId,
  imageId,
  minimumGuestSvn,
});
const SIGNERS: readonly [string, ImageSigner][] = [
  ["the ID key", { idKeyDigest }],
  ["the author key", { authorKeyDigest }],
  ["both keys", { idKeyDigest, authorKeyDigest }],
];

function report(changes: Partial<SnpReportFields> = {}): SnpReport {
  const fields = { ...UNSIGNED, ...SIGNED, ...changes, signature: Buffer.alloc(96) };
  return parseSnpReport(encodeSnpReport(fields));
}

/** Each with the field of the report that holds it. */
const FIELDS = {
  idKeyDigest: "ID_KEY_DIGEST",
  authorKeyDigest: "AUTHOR_KEY_DIGEST",
  familyId: "FAMILY_ID",
  imageId: "IMAGE_ID",
  measurement: "MEASUREMENT",
} as const;

/** The names of the fields that `trusted` refuses when one bit of `name` is different; `accepted` where it does not. */
function outcomes(name: keyof typeof FIELDS, trusted: TrustedImage): Set<string> {
  const bytes = report()[name];
  const places = Array.from({ length: bytes.length * 8 }, (_, bit) => {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(bit >>> 3) ^ (1 << (bit & 7)), bit >>> 3);
    return refusedField(report({ [name]: flipped }), trusted);
  });
  return new Set(places);
}

function refusedField(changed: SnpReport, trusted: TrustedImage): string {
  try {
    checkImage(changed, trusted);
    return "accepted";
  } catch (error) {
    return (error as { where: string }).where;
  }
}

test("every bit of the measurement counts where it is trusted, and nothing else does", () => {
  expect(refusedField(report(), measured)).toBe("accepted");
  for (const [name, field] of Object.entries(FIELDS)) {
    const expected = field === "MEASUREMENT" ? field : "accepted";
    expect(outcomes(name as keyof typeof FIELDS, measured), field).toEqual(new Set([expected]));
  }
});

test.each(SIGNERS)(
  "every bit counts that %s and the product are known by, and the measurement does not",
  (_, signer) => {
    const trusted = signedBy(signer);
    expect(refusedField(report(), trusted)).toBe("accepted");
    for (const [name, field] of Object.entries(FIELDS)) {
      const counts = name === "familyId" || name === "imageId" || name in signer;
      const expected = counts ? field : "accepted";
      expect(outcomes(name as keyof typeof FIELDS, trusted), field).toEqual(new Set([expected]));
    }
  },
);

test.each(SIGNERS)("of %s, the security version of the image is a minimum", (_, signer) => {
  for (const guestSvn of [6, 7, 0xffff_ffff])
    expect(refusedField(report({ guestSvn }), signedBy(signer))).toBe("accepted");
  for (const guestSvn of [0, 5]) expect(refusedField(report({ guestSvn }), signedBy(signer))).toBe("GUEST_SVN");
  expect(refusedField(report({ guestSvn: 0 }), signedBy(signer, 0))).toBe("accepted");
  expect(refusedField(report({ guestSvn: 0xffff_fffe }), signedBy(signer, 0xffff_ffff))).toBe("GUEST_SVN");
});

test("an author key that the firmware did not look at does not count, even with the right digest", () => {
  const unchecked = report({ authorKeyEnabled: false });
  expect(refusedField(unchecked, signedBy({ authorKeyDigest }))).toBe("AUTHOR_KEY_EN");
  expect(refusedField(unchecked, signedBy({ idKeyDigest, authorKeyDigest }))).toBe("AUTHOR_KEY_EN");
  expect(refusedField(unchecked, signedBy({ idKeyDigest }))).toBe("accepted");
});

test.each(SIGNERS)(
  "an image that nobody signed is refused where %s is trusted, whatever it calls itself",
  (_, signer) => {
    const unsigned = { idKeyDigest: Buffer.alloc(48), authorKeyDigest: Buffer.alloc(48), authorKeyEnabled: false };
    expect(refusedField(report(unsigned), signedBy(signer))).toMatch(/^ID_KEY_DIGEST$|^AUTHOR_KEY_EN$/);
  },
);

test("a refusal has its code, what was there and what would be right", () => {
  expect(() => checkImage(report({ familyId: Buffer.alloc(16) }), signedBy({ idKeyDigest }))).toThrow(
    expect.objectContaining({ code: "image_mismatch", got: "00".repeat(16), want: "fa".repeat(16) }),
  );
  expect(() => checkImage(report({ guestSvn: 5 }), signedBy({ idKeyDigest }))).toThrow(
    expect.objectContaining({ code: "guest_svn_too_low", got: "5", want: "at least 6" }),
  );
  expect(() => checkImage(report({ measurement: Buffer.alloc(48) }), measured)).toThrow(
    expect.objectContaining({ code: "measurement_mismatch" }),
  );
});
