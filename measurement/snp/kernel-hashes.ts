import { createHash } from "node:crypto";
import { u16le } from "../../bytes/numbers.ts";
import { MeasurementError } from "../error.ts";
import { guidBytes } from "../firmware/guid.ts";
import { PAGE_SIZE, type SnpFirmware, type SnpSection } from "./firmware.ts";

/**
 * The page with which QEMU tells OVMF what it may start (QEMU, target/i386/sev.c, `kernel-hashes=on`; edk2,
 * OvmfPkg/AmdSev/BlobVerifierLibSevHashes). The page is measured, and OVMF refuses a kernel, an initrd and a command line
 * that are others.
 */

const HEADER = guidBytes("9438d606-4f22-4cc9-b479-a793d411fd21");
const COMMAND_LINE = guidBytes("97d02dd8-bd20-4c94-aa78-e7714d36ab2a");
const INITRD = guidBytes("44baf731-3a2f-4bd7-9af1-41e29169781d");
const KERNEL = guidBytes("4de79437-abd2-427f-b835-d5b172d2045b");

/** What QEMU is given with `-kernel`, `-initrd` and `-append`. */
export interface DirectBoot {
  readonly kernel: Buffer;
  /** Undefined: none. */
  readonly initrd: Buffer | undefined;
  readonly commandLine: string;
}

/** @throws MeasurementError no_kernel_hashes_section, kernel_hashes_misplaced */
export function kernelHashesPage({ sections, hashTable }: SnpFirmware, boot: DirectBoot): Buffer {
  const section = sections.find(({ kind }) => kind === "kernel-hashes");
  if (section === undefined || hashTable === undefined) {
    throw new MeasurementError("no_kernel_hashes_section", "with this firmware the kernel would not be measured", {
      where: section === undefined ? "the SEV metadata" : "the table at the end of the firmware",
      got: section === undefined ? "no section for kernel hashes" : "no address for a hash table",
      want: "a firmware that verifies the kernel",
      hint: "take edk2's build OvmfPkg/AmdSev, which kata-deploy has as AMDSEV.fd",
    });
  }
  const table = hashTableOf(boot);
  const offset = offsetIn(section, hashTable, table.length);
  return Buffer.concat([Buffer.alloc(offset), table], PAGE_SIZE);
}

/** @throws MeasurementError kernel_hashes_misplaced */
function offsetIn(section: SnpSection, hashTable: number, length: number): number {
  const offset = hashTable - section.address;
  if (offset >= 0 && offset + length <= section.size) return offset;
  const message = "the firmware looks for the kernel's hashes where none are measured";
  throw new MeasurementError("kernel_hashes_misplaced", message, {
    where: "the address of the hash table",
    got: `0x${hashTable.toString(16)}`,
    want: `0x${section.address.toString(16)}, or up to ${section.size - length} bytes after`,
    hint: "take another build of the firmware",
  });
}

function hashTableOf({ kernel, initrd, commandLine }: DirectBoot): Buffer {
  const entries = Buffer.concat([
    entry(COMMAND_LINE, sha256(Buffer.from(`${commandLine}\0`))),
    entry(INITRD, sha256(initrd ?? Buffer.alloc(0))),
    entry(KERNEL, sha256(kernel)),
  ]);
  const table = entry(HEADER, entries);
  return Buffer.concat([table], Math.ceil(table.length / 16) * 16);
}

/** GUID, length of all of it, data. */
function entry(guid: Buffer, data: Buffer): Buffer {
  return Buffer.concat([guid, u16le(16 + 2 + data.length), data]);
}

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}
