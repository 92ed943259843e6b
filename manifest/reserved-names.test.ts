import { execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { issueLeaf } from "../pki/certificate.ts";
import { isReserved, reservedNames, TRANSIT_NAME } from "./reserved-names.ts";
import { parseSan, type San } from "./san.ts";

const RESERVED = [
  "contrast.internal",
  "coordinator.contrast.internal",
  "COORDINATOR.Contrast.Internal",
  "needs-recovery.coordinator.contrast.internal",
  "other.contrast.internal",
  "*.contrast.internal",
  "*.coordinator.contrast.internal",
  "*.Contrast.Internal",
  "*.internal",
  "*.INTERNAL",
];

const FREE = [
  "*",
  "coordinator",
  "coordinator.contrast",
  "internal",
  "contrast-internal",
  "mycontrast.internal",
  "contrast.internal.example.org",
  "coordinator.contrast.internal.example.org",
  "*.contrast.internal.example.org",
  "*.corp.internal",
  "web.internal",
  "*.contrast",
];

const dns = (value: string): San => ({ kind: "dns", value });

test.for(RESERVED)("%s is the Coordinator's", (value) => {
  expect(isReserved(dns(value))).toBe(true);
});

test.for(FREE)("%s is anybody's", (value) => {
  expect(isReserved(dns(value))).toBe(false);
});

test("what is no DNS name is not reserved, and what ends in a dot is no name at all", () => {
  expect(isReserved({ kind: "uri", value: "spiffe://coordinator.contrast.internal" })).toBe(false);
  expect(isReserved({ kind: "ip", value: "192.0.2.1" })).toBe(false);
  for (const name of [
    "coordinator.contrast.internal.",
    "*.internal.",
    "coordinator..contrast.internal",
    "*.*.internal",
  ]) {
    expect(parseSan(name), name).toBeUndefined();
  }
  expect(isReserved(dns("coordinator.contrast.internal."))).toBe(true);
});

test("each reserved name of a manifest is named with its place", () => {
  const hash = "ab".repeat(32);
  const entry = { sans: [dns("web"), dns("*.contrast.internal"), dns("*"), dns("contrast.internal")] };
  expect(
    reservedNames([
      ["cd".repeat(32), { sans: [dns("*")] }],
      [hash, entry],
    ]),
  ).toEqual(
    [1, 3].map((index) => ({
      where: `$.Policies["${hash}"].SANs[${index}]`,
      got: entry.sans[index]?.value,
      want: "a name outside of contrast.internal, where the Coordinator serves",
    })),
  );
});

/** Verifiers that are not ours. All certificates have one key: names are what is compared. */
const key = generateKeyPairSync("ec", { namedCurve: "P-256" });

function certificate(names: readonly string[]): string {
  return issueLeaf({
    subject: names[0] ?? "workload",
    publicKey: key.publicKey,
    issuer: { name: "Contrast mesh CA", key },
    notBefore: new Date("2026-01-01"),
    notAfter: new Date("2046-01-01"),
    names: names.map(dns),
  });
}

const SERVED = [TRANSIT_NAME, "needs-recovery.coordinator.contrast.internal", "contrast.internal"];

test("OpenSSL takes no name that anybody may have for one of the Coordinator's", () => {
  for (const name of FREE) {
    const shown = new X509Certificate(certificate([name]));
    for (const served of SERVED) expect(shown.checkHost(served), `${name} for ${served}`).toBeUndefined();
  }
  expect(new X509Certificate(certificate(["*.contrast.internal"])).checkHost(TRANSIT_NAME)).toBeDefined();
  expect(new X509Certificate(certificate(["Coordinator.Contrast.Internal"])).checkHost(TRANSIT_NAME)).toBeDefined();
});

const HAS_GO = spawnSync("go", ["version"]).status === 0;
const NO_GO = HAS_GO ? "" : " (skipped: go is not installed)";
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "reserved-names-"));
  if (!HAS_GO) return;
  const source = join(import.meta.dirname, "../test/transit/verify-host.go");
  execFileSync("go", ["build", "-o", join(folder, "verify-host"), source]);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** @returns for each certificate the names that Go accepts it for */
function accepts(certificates: readonly string[], names: readonly string[]): string[][] {
  const output = execFileSync(join(folder, "verify-host"), names, { input: certificates.join("") }).toString();
  return output
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ").filter(Boolean));
}

test.skipIf(!HAS_GO)(`Go takes no name that anybody may have for one of the Coordinator's${NO_GO}`, () => {
  expect(
    accepts(
      [...FREE, "coordinator"].map((name) => certificate([name])),
      SERVED,
    ),
  ).toEqual([...FREE, ""].map(() => []));
  // Up to 1.22, Go took `*` for any name of one label: a Coordinator that served as `coordinator` could be impersonated.
  const [bare = []] = accepts([certificate(["*"])], ["coordinator", ...SERVED]);
  expect(bare.filter((name) => name !== "coordinator")).toEqual([]);
  const wildcards = ["*.contrast.internal", "*.internal", "COORDINATOR.contrast.internal"];
  expect(
    accepts(
      wildcards.map((name) => certificate([name])),
      SERVED,
    ),
  ).toEqual([[TRANSIT_NAME], ["contrast.internal"], [TRANSIT_NAME]]);
});
