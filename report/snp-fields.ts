import { type Flag, GUEST_POLICY, isSet, PLATFORM_INFO } from "../attestation/snp/flags.ts";
import { productOfCpuid, type SnpProduct } from "../attestation/snp/product.ts";
import { SIGNED_SIZE, type SnpReport } from "../attestation/snp/report.ts";
import { parseTcb } from "../attestation/snp/tcb.ts";
import { toHex } from "../bytes/encode.ts";
import type { Fields } from "./print.ts";

/** An attestation report by the names of AMD publication 56860, table 23; bits and parts of TCBs beside the numbers. */

const POLICY_BITS: Readonly<Record<string, Flag>> = {
  SMT: GUEST_POLICY.SMT,
  MIGRATE_MA: GUEST_POLICY.MigrateMA,
  DEBUG: GUEST_POLICY.Debug,
  SINGLE_SOCKET: GUEST_POLICY.SingleSocket,
  CXL_ALLOW: GUEST_POLICY.CXLAllowed,
  MEM_AES_256_XTS: GUEST_POLICY.MemAES256XTS,
  RAPL_DIS: GUEST_POLICY.RAPLDis,
  CIPHERTEXT_HIDING_DRAM: GUEST_POLICY.CipherTextHidingDRAM,
  PAGE_SWAP_DISABLE: GUEST_POLICY.PageSwapDisable,
};

const PLATFORM_BITS: Readonly<Record<string, Flag>> = {
  SMT_EN: PLATFORM_INFO.SMTEnabled,
  TSME_EN: PLATFORM_INFO.TSMEEnabled,
  ECC_EN: PLATFORM_INFO.ECCEnabled,
  RAPL_DIS: PLATFORM_INFO.RAPLDisabled,
  CIPHERTEXT_HIDING_DRAM_EN: PLATFORM_INFO.CiphertextHidingDRAMEnabled,
  ALIAS_CHECK_COMPLETE: PLATFORM_INFO.AliasCheckComplete,
  TIO_EN: PLATFORM_INFO.TIOEnabled,
};

const SIGNING_KEYS = { vcek: 0, vlek: 1, none: 7 } as const;

/** Of SIGNATURE: R and S, little-endian, each. */
const SCALAR_SIZE = 72;

/** @throws EvidenceError malformed_report where a TCB has reserved bytes that are not zero */
export function describeSnpReport(report: SnpReport): Fields {
  const product = report.cpuid && productOfCpuid(report.cpuid);
  const [r, s] = [SIGNED_SIZE, SIGNED_SIZE + SCALAR_SIZE];
  return {
    product,
    VERSION: report.version,
    GUEST_SVN: report.guestSvn,
    POLICY: hex(report.policy),
    POLICY_BITS: {
      ABI_MINOR: Number(report.policy & 0xffn),
      ABI_MAJOR: Number((report.policy >> 8n) & 0xffn),
      ...bits(report.policy, POLICY_BITS),
    },
    FAMILY_ID: toHex(report.familyId),
    IMAGE_ID: toHex(report.imageId),
    VMPL: report.vmpl,
    // The parser takes no other: ECDSA P-384 with SHA-384.
    SIGNATURE_ALGO: 1,
    ...tcb("CURRENT_TCB", report.currentTcb, product),
    PLATFORM_INFO: hex(report.platformInfo),
    PLATFORM_INFO_BITS: bits(report.platformInfo, PLATFORM_BITS),
    AUTHOR_KEY_EN: Number(report.authorKeyEnabled),
    MASK_CHIP_KEY: Number(report.maskChipKey),
    SIGNING_KEY: SIGNING_KEYS[report.signingKey],
    SIGNING_KEY_NAME: report.signingKey.toUpperCase(),
    REPORT_DATA: toHex(report.reportData),
    MEASUREMENT: toHex(report.measurement),
    HOST_DATA: toHex(report.hostData),
    ID_KEY_DIGEST: toHex(report.idKeyDigest),
    AUTHOR_KEY_DIGEST: toHex(report.authorKeyDigest),
    REPORT_ID: toHex(report.reportId),
    REPORT_ID_MA: toHex(report.reportIdMa),
    ...tcb("REPORTED_TCB", report.reportedTcb, product),
    CPUID_FAM_ID: report.cpuid?.family,
    CPUID_MOD_ID: report.cpuid?.model,
    CPUID_STEP: report.cpuid?.stepping,
    CHIP_ID: toHex(report.chipId),
    ...tcb("COMMITTED_TCB", report.committedTcb, product),
    CURRENT_BUILD: report.currentVersion.build,
    CURRENT_MINOR: report.currentVersion.minor,
    CURRENT_MAJOR: report.currentVersion.major,
    COMMITTED_BUILD: report.committedVersion.build,
    COMMITTED_MINOR: report.committedVersion.minor,
    COMMITTED_MAJOR: report.committedVersion.major,
    ...tcb("LAUNCH_TCB", report.launchTcb, product),
    LAUNCH_MIT_VECTOR: report.mitigations && hex(report.mitigations.launch),
    CURRENT_MIT_VECTOR: report.mitigations && hex(report.mitigations.current),
    SIGNATURE: { R: toHex(report.raw.subarray(r, r + SCALAR_SIZE)), S: toHex(report.raw.subarray(s, s + SCALAR_SIZE)) },
  };
}

/** Where its parts are depends on the product: without that, there is only the number. */
function tcb(name: string, value: bigint, product: SnpProduct | undefined): Fields {
  if (product === undefined) return { [name]: hex(value) };
  const { fmc, bootloader, tee, snp, microcode } = parseTcb(value, product, name);
  return {
    [name]: hex(value),
    [`${name}_PARTS`]: {
      FMC: product === "Turin" ? fmc : undefined,
      BOOT_LOADER: bootloader,
      TEE: tee,
      SNP: snp,
      MICROCODE: microcode,
    },
  };
}

function bits(value: bigint, flags: Readonly<Record<string, Flag>>): Fields {
  return Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, isSet(value, flag)]));
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
