import { expect, test } from "vitest";
import { encodeInitdata, policyHash } from "../../manifest/initdata.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { policyOf } from "../../report/test-audit.ts";
import { readerOf } from "./readers.ts";
import { podsOf, workloadsIn } from "../../report/workloads.ts";

const pods = {
  web: policyOf({ name: "web" }),
  db: policyOf({ kind: "StatefulSet", name: "db" }),
  other: policyOf({ namespace: "other", name: "web" }),
  bare: policyOf({ name: "bare" }),
  coordinator: policyOf({ kind: "StatefulSet", name: "coordinator" }),
};
const documents = Object.values(pods).map((rego) => encodeInitdata(rego));
const hashOf = (pod: keyof typeof pods): string => policyHash(encodeInitdata(pods[pod]));
const manifest = parseManifest(
  Buffer.from(
    JSON.stringify({
      Policies: {
        [hashOf("web")]: { SANs: ["web", "*", "shop.example"], WorkloadSecretID: "apps/v1/Deployment/shop/web" },
        [hashOf("db")]: { SANs: ["db"], WorkloadSecretID: "db\u001b[31m" },
        [hashOf("other")]: { SANs: ["web"], WorkloadSecretID: "other" },
        [hashOf("bare")]: { SANs: ["bare"] },
        [hashOf("coordinator")]: { SANs: ["coordinator"], Role: "coordinator" },
      },
      ReferenceValues: { insecure: [{ RootDigest: "66".repeat(32), TrustedMeasurement: "77".repeat(48) }] },
      WorkloadOwnerKeyDigests: [],
      SeedshareOwnerPubKeys: [],
    }),
  ),
);
const workloads = workloadsIn(manifest, documents);

test.each([
  ["shop.example", "workload:apps/v1/Deployment/shop/web"],
  ["shop/web", "workload:apps/v1/Deployment/shop/web"],
  ["Deployment shop/web", "workload:apps/v1/Deployment/shop/web"],
  ["db", "workload:db\u001b[31m"],
  ["other", "workload:other"],
  ["apps/v1/Deployment/shop/web", "workload:apps/v1/Deployment/shop/web"],
  ["workload:anything that may come", "workload:anything that may come"],
  ["ab".repeat(32), `policy:${"ab".repeat(32)}`],
  [`policy:${"AB".repeat(32)}`, `policy:${"ab".repeat(32)}`],
])("%j is meant by its ID or its policy", (text, reader) => {
  expect(readerOf(text, workloads)).toBe(reader);
});

test("a name that two workloads have is refused, with both", () => {
  expect(() => readerOf("web", workloads)).toThrow(
    expect.objectContaining({ code: "usage", want: expect.stringContaining("workload:other") as string }),
  );
});

test("a name that is another workload's ID is refused, too", () => {
  const [first, second] = [
    { policy: "a", pod: "one", names: ["db", "x"], workloadSecretId: "x" },
    { policy: "b", pod: "two", names: ["two", "db"], workloadSecretId: "db" },
  ];
  expect(() => readerOf("db", [first, second])).toThrow(expect.objectContaining({ code: "usage" }));
});

test("a workload without an ID is named by its policy, and the error has it", () => {
  expect(() => readerOf("bare", workloads)).toThrow(
    expect.objectContaining({ code: "usage", want: `policy:${hashOf("bare")}` }),
  );
});

test.each([
  "",
  "coordinator",
  "*",
  "policy:12",
  "workload:",
  `workload:${"x".repeat(257)}`,
  "\u001b[2J",
  "ab".repeat(31),
])("%j is nobody, and the error shows no control character", (text) => {
  let told = "";
  try {
    readerOf(text, workloads);
  } catch (error) {
    told = (error as { describe: () => string }).describe();
  }
  expect(told).toMatch(/^usage: /);
  // oxlint-disable-next-line no-control-regex
  expect(told).not.toMatch(/[\u0000-\u001f]/);
});

test("an unknown name is answered with those that there are", () => {
  expect(() => readerOf("wbe", workloads)).toThrow(
    expect.objectContaining({ want: expect.stringMatching(/"web", "db", "bare"/) as string }),
  );
});

test("a reader is shown with the pods that it is today", () => {
  expect(podsOf("workload:other", workloads)).toEqual(["Deployment other/web"]);
  expect(podsOf(`policy:${hashOf("bare")}`, workloads)).toEqual(["Deployment shop/bare"]);
  expect(podsOf(`policy:${hashOf("coordinator")}`, workloads)).toEqual([]);
  expect(podsOf("workload:undefined", workloads)).toEqual([]);
});
