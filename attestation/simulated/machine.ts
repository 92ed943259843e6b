import type { SnpReportFields } from "../snp/report.ts";
import { encodeTcb, type Tcb } from "../snp/tcb.ts";

/** The machine that the software TEE pretends to be: a Milan of 2025 with all updates. */

export const MACHINE_TCB: Tcb = { fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
export const MACHINE_PRODUCT_NAME = "Milan-B0";

const tcb = encodeTcb(MACHINE_TCB, "Milan");
const version = { build: 29, minor: 55, major: 1 };

/** What is the same in every report of every VM on it. */
export const MACHINE_REPORT = {
  version: 3,
  guestSvn: 0,
  // SMT and the bit that must be one: no debugging, no migration.
  policy: 0x30000n,
  familyId: Buffer.alloc(16),
  imageId: Buffer.alloc(16),
  vmpl: 0,
  currentTcb: tcb,
  // SMT, ECC, alias check complete.
  platformInfo: 0x25n,
  authorKeyEnabled: false,
  maskChipKey: false,
  signingKey: "vcek",
  idKeyDigest: Buffer.alloc(48),
  authorKeyDigest: Buffer.alloc(48),
  // No migration agent.
  reportIdMa: Buffer.alloc(32, 0xff),
  reportedTcb: tcb,
  cpuid: { family: 0x19, model: 0x01, stepping: 0x01 },
  committedTcb: tcb,
  currentVersion: version,
  committedVersion: version,
  launchTcb: tcb,
  mitigations: undefined,
} as const satisfies Partial<SnpReportFields>;
