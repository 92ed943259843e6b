import { describe, expect, test } from "vitest";
import { ManifestError } from "./error.ts";
import { parseManifest } from "./manifest.ts";
import type { ReferenceValues } from "./reference-values.ts";

const MEASURED = { TrustedMeasurement: "11".repeat(48) };
const PRODUCT = { FamilyID: "fa".repeat(16), ImageID: "1A".repeat(16), MinimumGuestSVN: 6 };
const ID = { IdKeyDigest: "1d".repeat(48) };
const AUTHOR = { AuthorKeyDigest: "a0".repeat(48) };
const signed = { familyId: Buffer.alloc(16, 0xfa), imageId: Buffer.alloc(16, 0x1a), minimumGuestSvn: 6 };
const [idKeyDigest, authorKeyDigest] = [Buffer.alloc(48, 0x1d), Buffer.alloc(48, 0xa0)];

const KINDS = {
  snp: {
    ProductName: "Milan",
    MinimumTCB: { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 115 },
  },
  insecure: { RootDigest: "66".repeat(32) },
};

describe.each(["snp", "insecure"] as const)("a set of %s", (kind) => {
  function parse(image: object): ReferenceValues {
    const document = {
      Policies: {},
      ReferenceValues: { [kind]: [{ ...KINDS[kind], ...image }] },
      WorkloadOwnerKeyDigests: [],
      SeedshareOwnerPubKeys: [],
    };
    return parseManifest(Buffer.from(JSON.stringify(document))).referenceValues;
  }

  test.each([
    ["a measurement", MEASURED, { kind: "measured", measurement: Buffer.alloc(48, 0x11) }],
    ["an ID key", { ...ID, ...PRODUCT }, { kind: "signed", signer: { idKeyDigest }, ...signed }],
    ["an author key", { ...AUTHOR, ...PRODUCT }, { kind: "signed", signer: { authorKeyDigest }, ...signed }],
    [
      "both keys",
      { ...ID, ...AUTHOR, ...PRODUCT },
      { kind: "signed", signer: { idKeyDigest, authorKeyDigest }, ...signed },
    ],
  ])("may name %s", (_, image, expected) => {
    expect(parse(image)[kind][0]?.image).toEqual(expected);
  });

  test.each([0, 0xffff_ffff])("may name the security version %i", (MinimumGuestSVN) => {
    expect(parse({ ...ID, ...PRODUCT, MinimumGuestSVN })[kind][0]?.image).toMatchObject({
      minimumGuestSvn: MinimumGuestSVN,
    });
  });

  const ZERO = "00".repeat(48);
  test.each([
    ["no image", {}, ["TrustedMeasurement"]],
    ["a measurement beside an ID key", { ...MEASURED, ...ID }, ["IdKeyDigest"]],
    ["a measurement beside an author key", { ...MEASURED, ...AUTHOR }, ["AuthorKeyDigest"]],
    ["a measurement beside a product", { ...MEASURED, ...PRODUCT }, ["FamilyID", "ImageID", "MinimumGuestSVN"]],
    ["a measurement beside security version 0", { ...MEASURED, MinimumGuestSVN: 0 }, ["MinimumGuestSVN"]],
    ["a product without a key", PRODUCT, ["IdKeyDigest"]],
    ["a security version without a key", { MinimumGuestSVN: 0 }, ["IdKeyDigest"]],
    ["an ID key without a family", { ...ID, ...PRODUCT, FamilyID: undefined }, ["FamilyID"]],
    ["an ID key without an image", { ...ID, ...PRODUCT, ImageID: undefined }, ["ImageID"]],
    ["an ID key without a security version", { ...ID, ...PRODUCT, MinimumGuestSVN: undefined }, ["MinimumGuestSVN"]],
    ["an author key and nothing else", AUTHOR, ["FamilyID", "ImageID", "MinimumGuestSVN"]],
    ["an ID key of zeros", { ...PRODUCT, IdKeyDigest: ZERO }, ["IdKeyDigest"]],
    ["an author key of zeros", { ...PRODUCT, AuthorKeyDigest: ZERO }, ["AuthorKeyDigest"]],
    ["an author key of zeros beside a good ID key", { ...ID, ...PRODUCT, AuthorKeyDigest: ZERO }, ["AuthorKeyDigest"]],
    ["a short key digest", { ...PRODUCT, IdKeyDigest: "1d".repeat(32) }, ["IdKeyDigest"]],
    ["a key digest that nobody filled in", { ...PRODUCT, AuthorKeyDigest: "" }, ["AuthorKeyDigest"]],
    ["a family of another length", { ...ID, ...PRODUCT, FamilyID: "fa".repeat(17) }, ["FamilyID"]],
    ["an image that is no hex", { ...ID, ...PRODUCT, ImageID: "xy".repeat(16) }, ["ImageID"]],
    ["a negative security version", { ...ID, ...PRODUCT, MinimumGuestSVN: -1 }, ["MinimumGuestSVN"]],
    ["a security version of 33 bits", { ...ID, ...PRODUCT, MinimumGuestSVN: 2 ** 32 }, ["MinimumGuestSVN"]],
    ["a security version in quotes", { ...ID, ...PRODUCT, MinimumGuestSVN: "6" }, ["MinimumGuestSVN"]],
    ["a security version that is null", { ...ID, ...PRODUCT, MinimumGuestSVN: null }, ["MinimumGuestSVN"]],
    ["a key in other letters", { ...PRODUCT, IDKeyDigest: ID.IdKeyDigest }, ["IDKeyDigest", "IdKeyDigest"]],
  ])("is refused with %s, by its path", (_, image, keys) => {
    expect(() => parse(image)).toThrow(ManifestError);
    expect(() => parse(image)).toThrow(
      expect.objectContaining({
        code: "invalid_manifest",
        faults: keys.map((key) => expect.objectContaining({ where: `$.ReferenceValues.${kind}[0].${key}` }) as unknown),
      }),
    );
  });
});
