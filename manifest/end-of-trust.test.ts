import { expect, test } from "vitest";
import { endOfTrust } from "./end-of-trust.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { generateKeyPairSync } from "node:crypto";
import { toHex } from "../bytes/encode.ts";
import { spki } from "../pki/keys.ts";

const [WEB, DB, COORDINATOR] = ["a", "b", "c"].map((digit) => digit.repeat(64)) as [string, string, string];
const [ONE, TWO] = [1, 2].map(() => toHex(spki(generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey)));
const [MILAN, GENOA] = ["Milan", "Genoa"].map((ProductName) => ({
  ProductName,
  TrustedMeasurement: "11".repeat(48),
  MinimumTCB: { BootloaderVersion: 4, TEEVersion: 1, SNPVersion: 8, MicrocodeVersion: 115 },
  AllowedChipIDs: ["22".repeat(64), "33".repeat(64)],
})) as [object, object];

const BEFORE = {
  Policies: {
    [WEB]: { SANs: ["web", "203.0.113.34"], WorkloadSecretID: "web" },
    [DB]: { SANs: ["db"] },
    [COORDINATOR]: { SANs: ["coordinator"], Role: "coordinator" },
  },
  ReferenceValues: { snp: [MILAN, GENOA] },
  WorkloadOwnerKeyDigests: ["1".repeat(64), "2".repeat(64)],
  SeedshareOwnerPubKeys: [ONE, TWO],
  SeedshareThreshold: 2,
};

function manifest(changes: object = {}): Manifest {
  return parseManifest(Buffer.from(JSON.stringify({ ...BEFORE, ...changes })));
}

function policies(changes: object): object {
  return { Policies: { ...BEFORE.Policies, ...changes } };
}

test.each([
  ["nothing", {}],
  ["a policy more", policies({ ["d".repeat(64)]: { SANs: ["db"] } })],
  ["a name more, and another order", policies({ [WEB]: { SANs: ["www", "203.0.113.34", "web"] } })],
  ["another secret", policies({ [WEB]: { SANs: ["web", "203.0.113.34"], WorkloadSecretID: "other" } })],
  [
    "a set of values more, and another order",
    { ReferenceValues: { snp: [GENOA, { ...MILAN, AllowedChipIDs: [] }, MILAN] } },
  ],
  ["an owner more", { WorkloadOwnerKeyDigests: ["3", "2", "1"].map((digit) => digit.repeat(64)) }],
  ["a shorter lifetime and a time", { CertificateLifetime: "1h", NotBefore: "2026-06-01T00:00:00Z" }],
])("certificates of before may stay trusted where a manifest changes %s", (_, changes) => {
  expect(endOfTrust(manifest(), manifest(changes))).toBeUndefined();
});

test.each([
  [
    "removes a policy",
    { Policies: { [DB]: BEFORE.Policies[DB], [COORDINATOR]: BEFORE.Policies[COORDINATOR] } },
    /removes policy a+ \(web, 203/,
  ],
  ["takes a name", policies({ [WEB]: { SANs: ["web"] } }), /takes the name 203\.0\.113\.34 from policy a+$/],
  [
    "moves a name to another policy",
    policies({ [DB]: { SANs: ["d"] }, [WEB]: { SANs: ["web", "203.0.113.34", "db"] } }),
    /takes the name db from policy b+$/,
  ],
  // It has the mesh CA's key of before.
  [
    "has a Coordinator of before be one no more",
    policies({ [COORDINATOR]: { SANs: ["coordinator"] } }),
    /changes the role of policy c+/,
  ],
  [
    "makes a workload a Coordinator",
    policies({ [DB]: { SANs: ["db"], Role: "coordinator" } }),
    /changes the role of policy b+/,
  ],
  ["removes a set of values", { ReferenceValues: { snp: [MILAN] } }, /ReferenceValues\.snp\[1\]/],
  [
    "raises a minimum",
    {
      ReferenceValues: {
        snp: [
          { ...MILAN, MinimumTCB: { BootloaderVersion: 4, TEEVersion: 1, SNPVersion: 8, MicrocodeVersion: 116 } },
          GENOA,
        ],
      },
    },
    /snp\[0\]/,
  ],
  [
    "allows fewer machines",
    { ReferenceValues: { snp: [MILAN, { ...GENOA, AllowedChipIDs: ["22".repeat(64)] }] } },
    /snp\[1\]/,
  ],
  [
    "asks more of the firmware",
    { ReferenceValues: { snp: [{ ...MILAN, GuestPolicy: { SMT: false } }, GENOA] } },
    /snp\[0\]/,
  ],
  ["removes a workload owner", { WorkloadOwnerKeyDigests: ["2".repeat(64), "3".repeat(64)] }, /workload owner/],
  ["asks for more owners", { WorkloadOwnerThreshold: 2 }, /WorkloadOwnerThreshold/],
  ["has no owner any more", { WorkloadOwnerKeyDigests: [] }, /workload owner/],
  ["removes a seed share owner", { SeedshareOwnerPubKeys: [ONE], SeedshareThreshold: 1 }, /seed share owner/],
])("none does where it %s", (_, changes, why) => {
  expect(endOfTrust(manifest(), manifest(changes))).toMatch(why);
});
