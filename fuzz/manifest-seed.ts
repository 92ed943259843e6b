import { generateKeyPairSync } from "node:crypto";

const hex = (byte: string, length: number): string => byte.repeat(length);

/** A manifest with something in every place. */
export const MANIFEST = {
  Policies: {
    [hex("ab", 32)]: { SANs: ["web", "*", "203.0.113.34", "spiffe://example.org/web"], WorkloadSecretID: "web" },
    [hex("cd", 32)]: { SANs: ["coordinator"], Role: "coordinator" },
  },
  ReferenceValues: {
    snp: [
      {
        ProductName: "Milan",
        TrustedMeasurement: hex("11", 48),
        MinimumTCB: { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 115 },
        GuestPolicy: { ABIMinor: 31, SMT: true, Debug: false },
        PlatformInfo: { SMTEnabled: true },
        SigningKey: "VCEK",
        MinimumMitigationVector: 5,
        AllowedChipIDs: [hex("22", 64)],
      },
      {
        ProductName: "Genoa",
        IdKeyDigest: hex("1d", 48),
        AuthorKeyDigest: hex("a0", 48),
        FamilyID: hex("fa", 16),
        ImageID: hex("1a", 16),
        MinimumGuestSVN: 6,
        SigningKey: "VLEK",
        CSPID: "cloud.example",
        MinimumTCB: { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: 8, MicrocodeVersion: 115 },
      },
    ],
    tdx: [
      {
        MrTd: hex("33", 48),
        MrSeam: hex("44", 48),
        Rtmrs: ["50", "51", "52", "53"].map((byte) => hex(byte, 48)),
        Xfam: "e742060000000000",
        TdAttributes: "0000001000000000",
        MrOwner: hex("54", 48),
        MrOwnerConfig: hex("55", 48),
        MrServiceTd: hex("56", 48),
        MinimumTeeTcbSvn: hex("02", 16),
        AllowedTcbStatuses: ["SWHardeningNeeded"],
        MinimumTCBEvaluationDataNumber: 18,
        AllowedPIIDs: [hex("57", 16)],
        MemoryIntegrity: true,
        SMTDisabled: true,
        StaticPlatform: true,
      },
    ],
    insecure: [{ RootDigest: hex("66", 32), TrustedMeasurement: hex("77", 48) }],
  },
  WorkloadOwnerKeyDigests: [hex("88", 32)],
  SeedshareOwnerPubKeys: [
    generateKeyPairSync("rsa", { modulusLength: 2048 })
      .publicKey.export({ type: "spki", format: "der" })
      .toString("hex"),
  ],
  NotBefore: "2026-05-04T03:02:01Z",
};
