import { SIMULATED_MEASUREMENT } from "../../attestation/simulated/attester.ts";
import { DEFAULT_TD_ATTRIBUTES } from "../../attestation/tdx/attributes.ts";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { ReferenceValues } from "../../manifest/reference-values.ts";
import type { Platform } from "./platform-names.ts";

/**
 * What is known about the platforms beforehand. What only their operator knows is left open: `""` where text belongs,
 * `null` where a number does. No manifest with such a value is valid.
 */

export type { Platform } from "./platform-names.ts";

/** One set of reference values as the manifest writes it. */
export type ReferenceValueSet = Readonly<Record<string, unknown>>;

interface PlatformFacts {
  readonly kind: keyof ReferenceValues;
  readonly values: ReferenceValueSet;
  /** What whoever chooses the platform has to know. */
  readonly warning?: string;
  /** Why pods of it have no encrypted volumes; undefined: they may (docs/decisions/0050-secure-pv-privileges.md). */
  readonly noSecureVolumes?: string;
}

const SNP = {
  ProductName: "",
  TrustedMeasurement: "",
  MinimumTCB: { BootloaderVersion: null, TEEVersion: null, SNPVersion: null, MicrocodeVersion: null },
  GuestPolicy: { ABIMajor: 0, ABIMinor: 0, SMT: true },
  PlatformInfo: { SMTEnabled: true, TSMEEnabled: true },
  SigningKey: "VCEK",
  AllowedChipIDs: [],
};
const TDX = {
  MrTd: "",
  MrSeam: "",
  Rtmrs: ["", "", "", ""],
  Xfam: "",
  TdAttributes: toHex(DEFAULT_TD_ATTRIBUTES),
  MinimumTeeTcbSvn: "",
  MinimumTCBEvaluationDataNumber: 0,
  AllowedPIIDs: [],
  MemoryIntegrity: false,
  SMTDisabled: false,
  StaticPlatform: false,
};

const FACTS: Readonly<Record<Platform, PlatformFacts>> = {
  // Cloud Hypervisor on AKS launches its guests with ABI 0.31.
  "aks-clh-snp": {
    kind: "snp",
    values: { ...SNP, GuestPolicy: { ...SNP.GuestPolicy, ABIMinor: 31 } },
    warning:
      "AKS ended its confidential containers in March 2026; node pools that are left run a fork of Kata, on which no policy of this version has been tried",
    noSecureVolumes: "nobody knows how the fork of Kata there gives a disk to a container, and passes on its mounts",
  },
  "k3s-qemu-snp": { kind: "snp", values: SNP },
  "k3s-qemu-tdx": { kind: "tdx", values: TDX },
  "metal-qemu-snp": { kind: "snp", values: SNP },
  "metal-qemu-tdx": { kind: "tdx", values: TDX },
  simulated: {
    kind: "insecure",
    values: { RootDigest: "", TrustedMeasurement: SIMULATED_MEASUREMENT },
    noSecureVolumes:
      "there is no VM: the disk would be open on the node, and the kubelet deletes what it finds in an emptyDir when a pod ends",
  },
};

export function platformFacts(platform: Platform): PlatformFacts {
  return FACTS[platform];
}

/**
 * The runtime class of the platform's pods. The digits stand for what this version knows about the platform: nodes that
 * were set up for another version don't take the pod.
 */
export function runtimeClassName(platform: Platform): string {
  const { kind, values } = FACTS[platform];
  const digest = sha256Hex(Buffer.from(JSON.stringify({ [kind]: [values] })));
  return `contrast-cc-${platform}-${digest.slice(0, 8)}`;
}
