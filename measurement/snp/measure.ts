import { MeasurementError } from "../error.ts";
import { requireBootable } from "../linux-boot.ts";
import type { SnpFirmware } from "./firmware.ts";
import { type DirectBoot, kernelHashesPage } from "./kernel-hashes.ts";
import { LaunchDigest } from "./launch-digest.ts";
import { RESET_VECTOR, vmsaPage } from "./vmsa.ts";

/**
 * MEASUREMENT of a guest that QEMU starts on KVM: firmware, the pages that it asks for, the hashes of what it starts, and
 * the state of each vCPU, in this order (QEMU, target/i386/sev.c; `sev-snp-measure` of virtee computes the same).
 */

/** The vCPUs of a guest. */
export interface Vcpus {
  /** CPUID Fn0000_0001_EAX, of `VCPU_SIGNATURES` or another. */
  readonly signature: number;
  /** SEV_FEATURES: 1n where QEMU is told nothing else. */
  readonly features: bigint;
}

/** More than any machine with SEV-SNP lets a guest have. */
export const MAX_VCPUS = 1024;

/**
 * @param boot undefined: the guest starts from a disk, which the measurement says nothing about
 * @param counts of vCPUs, each from 1 to MAX_VCPUS
 * @returns for each count 48 bytes, in ascending order
 * @throws MeasurementError no_kernel_hashes_section, kernel_hashes_misplaced, no_reset_vector, malformed_kernel,
 *   malformed_command_line
 */
export function measureSnp(
  firmware: SnpFirmware,
  boot: DirectBoot | undefined,
  vcpus: Vcpus,
  counts: Iterable<number>,
): ReadonlyMap<number, Buffer> {
  const wanted = new Set(counts);
  const most = Math.max(...wanted);
  const digest = new LaunchDigest();
  digest.addPages(firmware.address, firmware.bytes);
  addSections(digest, firmware, boot);
  const first = vmsaPage({ ...vcpus, start: RESET_VECTOR });
  const further = most > 1 ? vmsaPage({ ...vcpus, start: requireResetVector(firmware) }) : first;
  const measured = new Map<number, Buffer>();
  for (let count = 1; count <= most; count++) {
    digest.addVmsa(count === 1 ? first : further);
    if (wanted.has(count)) measured.set(count, digest.value);
  }
  return measured;
}

function addSections(digest: LaunchDigest, firmware: SnpFirmware, boot: DirectBoot | undefined): void {
  if (boot !== undefined) requireBootable(boot);
  const hashes = boot && kernelHashesPage(firmware, boot);
  for (const { kind, address, size } of firmware.sections) {
    switch (kind) {
      case "secrets":
      case "cpuid":
        digest.addOwnPage(kind, address);
        break;
      case "kernel-hashes":
        if (hashes === undefined) digest.addZeroPages(address, size);
        else digest.addPages(address, hashes);
        break;
      case "memory":
      case "svsm-caa":
        digest.addZeroPages(address, size);
        break;
      default:
        kind satisfies never;
    }
  }
}

function requireResetVector({ resetVector }: SnpFirmware): number {
  if (resetVector !== undefined) return resetVector;
  throw new MeasurementError("no_reset_vector", "the firmware does not say where further vCPUs begin", {
    where: "the table at the end of the firmware",
    got: "no SEV-ES reset block",
    want: "one, or a single vCPU",
    hint: "take a build for SEV-SNP",
  });
}
