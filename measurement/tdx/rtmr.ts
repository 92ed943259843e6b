import { createHash } from "node:crypto";
import { authenticodeDigest } from "./authenticode.ts";
import type { DirectBoot } from "../snp/kernel-hashes.ts";
import { requireBootable } from "../linux-boot.ts";

/**
 * What OVMF and Linux extend the RTMRs with when QEMU starts a kernel (`-kernel`). A register begins as zeros; each event
 * makes it the SHA-384 of itself and the event's digest. Events of the firmware: edk2, OvmfPkg/Tcg/TdTcg2Dxe; of the
 * kernel: Linux, drivers/firmware/efi/libstub/efi-stub-helper.c. UEFI 2.10, section 38.4.1 says which PCR is which RTMR.
 */

const SIZE = 48;

/** An event that follows from files. */
export interface RtmrEvent {
  readonly what: string;
  /** 48 bytes. */
  readonly digest: Buffer;
}

/** @returns 48 bytes */
export function replay(events: readonly RtmrEvent[]): Buffer {
  return events.reduce<Buffer>((value, { digest }) => sha384(Buffer.concat([value, digest])), Buffer.alloc(SIZE));
}

/**
 * RTMR1: the kernel as QEMU passes it on. QEMU 10.2 and later leave it as it is in guests of TDX; older ones write into
 * its header, which depends on the size of memory.
 *
 * @throws MeasurementError malformed_kernel, malformed_command_line
 */
export function kernelEvents(boot: DirectBoot): readonly RtmrEvent[] {
  requireBootable(boot);
  return [
    { what: "the kernel", digest: authenticodeDigest(boot.kernel) },
    action("Calling EFI Application from Boot Option"),
    { what: "separator", digest: sha384(Buffer.alloc(4)) },
    action("Exit Boot Services Invocation"),
    action("Exit Boot Services Returned with Success"),
  ];
}

/**
 * RTMR2: the command line in UTF-16 with its end, and the initrd. OVMF puts `initrd=initrd` before the command line (edk2,
 * OvmfPkg/Library/X86QemuLoadImageLib, as of edk2-stable202511, which Kata 4.1 has); older builds put it behind.
 */
export function commandLineEvents({ commandLine, initrd }: DirectBoot): readonly RtmrEvent[] {
  const options = [...(initrd === undefined ? [] : ["initrd=initrd"]), commandLine].join(" ");
  return [
    { what: "the command line", digest: sha384(Buffer.from(`${options}\0`, "utf16le")) },
    ...(initrd === undefined ? [] : [{ what: "the initrd", digest: sha384(initrd) }]),
  ];
}

function action(text: string): RtmrEvent {
  return { what: text, digest: sha384(Buffer.from(text)) };
}

export function sha384(bytes: Buffer): Buffer {
  return createHash("sha384").update(bytes).digest();
}
