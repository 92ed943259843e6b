import { expect, test } from "vitest";
import type { ManifestError } from "./error.ts";
import { parseManifest } from "./manifest.ts";

const HASH = "ab".repeat(32);
const OTHER = "cd".repeat(32);

function manifest(entry: object, other: object = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      Policies: { [HASH]: { SANs: [], ...entry }, [OTHER]: { SANs: [], ...other } },
      ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
      WorkloadOwnerKeyDigests: [],
      SeedshareOwnerPubKeys: [],
    }),
  );
}

function faults(bytes: Buffer): [string, string][] {
  try {
    parseManifest(bytes);
  } catch (error) {
    return (error as ManifestError).faults.map(({ where, want }) => [where, want]);
  }
  throw new Error("it is a manifest");
}

const transitOf = (entry: object) => parseManifest(manifest(entry)).policies.get(HASH)?.transit;

test("who says nothing has the first version of the key, and no other", () => {
  expect(transitOf({ WorkloadSecretID: "web" })).toEqual({ latest: 1, minimum: 1 });
  expect(transitOf({})).toEqual({ latest: 1, minimum: 1 });
  expect(transitOf({ WorkloadSecretID: "web", Transit: {} })).toEqual({ latest: 1, minimum: 1 });
});

test("the versions are the manifest's", () => {
  const both = { LatestVersion: 0xffff_ffff, MinimumVersion: 7 };
  expect(transitOf({ WorkloadSecretID: "web", Transit: both })).toEqual({ latest: 0xffff_ffff, minimum: 7 });
  expect(transitOf({ WorkloadSecretID: "web", Transit: { LatestVersion: 2 } })).toEqual({ latest: 2, minimum: 1 });
});

const where = `$.Policies["${HASH}"].Transit`;

test.for([
  [{ LatestVersion: 0 }, "LatestVersion"],
  [{ LatestVersion: -1 }, "LatestVersion"],
  [{ LatestVersion: 1.5 }, "LatestVersion"],
  [{ LatestVersion: "1" }, "LatestVersion"],
  [{ LatestVersion: null }, "LatestVersion"],
  [{ LatestVersion: 0x1_0000_0000 }, "LatestVersion"],
  [{ MinimumVersion: 0 }, "MinimumVersion"],
  [{ MinimumVersion: 2 }, "MinimumVersion"],
  [{ LatestVersion: 3, MinimumVersion: 4 }, "MinimumVersion"],
  [{ Latest: 1 }, "Latest"],
] as const)("%j is refused", ([transit, field]) => {
  expect(faults(manifest({ WorkloadSecretID: "web", Transit: transit }))).toEqual([
    [`${where}.${field}`, expect.any(String)],
  ]);
});

test("what is no object is refused, and so is a key that nobody has", () => {
  expect(faults(manifest({ WorkloadSecretID: "web", Transit: 1 }))).toHaveLength(1);
  for (const WorkloadSecretID of [undefined, ""]) {
    expect(faults(manifest({ WorkloadSecretID, Transit: {} }))).toEqual([[where, "a WorkloadSecretID beside it"]]);
  }
});

/** Else it would depend on the pod what a shared key decrypts. */
test("policies that share a key have the same versions of it", () => {
  const second = { WorkloadSecretID: "web", Transit: { LatestVersion: 2 } };
  expect(faults(manifest(second, { WorkloadSecretID: "web" }))).toEqual([
    [`$.Policies["${OTHER}"].Transit`, "the versions that other policies with this WorkloadSecretID have"],
  ]);
  expect(parseManifest(manifest(second, second)).policies.size).toBe(2);
  expect(parseManifest(manifest(second, { WorkloadSecretID: "other" })).policies.size).toBe(2);
});
