import { describe, expect, test } from "vitest";
import { parseManifestDraft } from "./draft.ts";
import type { ManifestError } from "./error.ts";
import { parseManifest } from "./manifest.ts";

const DRAFT = {
  Policies: { nobody: { SANs: ["not a name"], WorkloadSecretID: "", Role: "owner" } },
  ReferenceValues: { snp: [{ ProductName: "" }], tdx: [null], insecure: [] },
  WorkloadOwnerKeyDigests: ["short"],
  SeedshareOwnerPubKeys: ["short"],
  SeedshareThreshold: 1,
  NotBefore: "soon",
  CertificateLifetime: "long",
};

function encode(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function faultsOf(parse: (bytes: Buffer) => unknown, value: object): readonly unknown[] {
  try {
    parse(encode(value));
    return [];
  } catch (error) {
    return (error as ManifestError).faults;
  }
}

test("a draft is read as it is, whatever its values say", () => {
  expect(parseManifestDraft(encode(DRAFT))).toEqual(DRAFT);
  expect(() => parseManifest(encode(DRAFT))).toThrow(expect.objectContaining({ code: "invalid_manifest" }));
});

describe("what has another form is no draft, and told as of a manifest", () => {
  const { WorkloadOwnerKeyDigests: _, ...incomplete } = DRAFT;
  test.each<[string, object]>([
    ["an unknown key", { ...DRAFT, Comment: "" }],
    ["an unknown kind of TEE", { ...DRAFT, ReferenceValues: { sgx: [] } }],
    ["an unknown key of a policy", { ...DRAFT, Policies: { nobody: { SANs: [], Name: "" } } }],
    ["policies in a list", { ...DRAFT, Policies: [] }],
    ["a name that is no list", { ...DRAFT, Policies: { nobody: { SANs: "web" } } }],
    ["no owners", incomplete],
    ["no seed share owner", { ...DRAFT, SeedshareThreshold: 0 }],
    ["half a seed share owner", { ...DRAFT, SeedshareThreshold: 0.5 }],
  ])("%s", (_, value) => {
    const [fault, ...others] = faultsOf(parseManifestDraft, value);
    expect(others).toEqual([]);
    expect(faultsOf(parseManifest, value)).toContainEqual(fault);
  });
});

test("what is no text where one belongs is told so", () => {
  for (const key of ["NotBefore", "CertificateLifetime"] as const) {
    expect(faultsOf(parseManifestDraft, { ...DRAFT, [key]: 5 })).toEqual([
      { where: `$.${key}`, got: "5", want: "a string" },
    ]);
  }
});
