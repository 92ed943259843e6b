import { expect, test } from "vitest";
import { unpinnedMachines, type WrittenReferenceValues } from "./unpinned-machines.ts";

const chip = "22".repeat(64);
const piid = "22".repeat(16);

test.each<[string, WrittenReferenceValues, string[]]>([
  ["nothing", {}, []],
  ["an SNP set with a chip", { snp: [{ ProductName: "Milan", AllowedChipIDs: [chip] }] }, []],
  ["a TDX set with a machine", { tdx: [{ AllowedPIIDs: [piid] }] }, []],
  [
    "an SNP set without chips",
    { snp: [{ ProductName: "Milan", AllowedChipIDs: [] }] },
    ["$.ReferenceValues.snp[0].AllowedChipIDs: any Milan"],
  ],
  [
    "an SNP set that nobody filled in",
    { snp: [{ ProductName: "" }] },
    ["$.ReferenceValues.snp[0].AllowedChipIDs: any machine with SEV-SNP"],
  ],
  [
    "the key of a cloud",
    { snp: [{ ProductName: "Milan", SigningKey: "VLEK", CSPID: "cloud.example" }] },
    ["$.ReferenceValues.snp[0].SigningKey: any machine of cloud.example"],
  ],
  ["a TDX set without machines", { tdx: [{}] }, ["$.ReferenceValues.tdx[0].AllowedPIIDs: any machine with TDX"]],
  [
    "each set by itself",
    {
      snp: [{ AllowedChipIDs: [chip] }, { ProductName: "Turin" }],
      tdx: [{ AllowedPIIDs: [] }, { AllowedPIIDs: [piid] }],
    },
    [
      "$.ReferenceValues.snp[1].AllowedChipIDs: any Turin",
      "$.ReferenceValues.tdx[0].AllowedPIIDs: any machine with TDX",
    ],
  ],
  [
    "sets of other forms",
    { snp: [null], tdx: ["x"] },
    [
      "$.ReferenceValues.snp[0].AllowedChipIDs: any machine with SEV-SNP",
      "$.ReferenceValues.tdx[0].AllowedPIIDs: any machine with TDX",
    ],
  ],
])("%s", (_, values, expected) => {
  expect(unpinnedMachines(values).map(({ where, machines }) => `${where}: ${machines}`)).toEqual(expected);
});
