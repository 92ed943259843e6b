import { MeasurementError } from "./error.ts";

/** The setup header of a Linux kernel (Documentation/arch/x86/boot.rst). */

const BOOT_FLAG = 0xaa55;
const MAGIC = "HdrS";
const SECTOR = 512;
/** Where a kernel says nothing, it means four sectors. */
const DEFAULT_SETUP_SECTORS = 4;

/** Whether firmware would start it. QEMU passes on any file, and measures it, too. */
export function isLinuxKernel(kernel: Buffer): boolean {
  if (kernel.length < 2 * SECTOR) return false;
  return kernel.readUInt16LE(0x1fe) === BOOT_FLAG && kernel.toString("latin1", 0x202, 0x206) === MAGIC;
}

/** @throws MeasurementError malformed_kernel, malformed_command_line */
export function requireBootable({
  kernel,
  commandLine,
}: {
  readonly kernel: Buffer;
  readonly commandLine: string;
}): void {
  requireWhole(kernel);
  if (!commandLine.includes("\0")) return;
  throw new MeasurementError("malformed_command_line", "the command line has a byte that ends it", {
    where: `byte ${Buffer.from(commandLine).indexOf(0)}`,
    got: "a zero byte",
    want: "text",
    hint: "what follows would not reach the kernel; leave the byte out",
  });
}

/** QEMU does not look, so that a cut kernel has a measurement, and no guest. */
function requireWhole(kernel: Buffer): void {
  if (!isLinuxKernel(kernel)) return;
  const setup = (1 + (kernel[0x1f1] || DEFAULT_SETUP_SECTORS)) * SECTOR;
  // In units of 16 bytes, without the setup.
  const least = setup + kernel.readUInt32LE(0x1f4) * 16;
  if (kernel.length >= least) return;
  throw new MeasurementError("malformed_kernel", "the kernel is cut", {
    where: "its size",
    got: `${kernel.length} bytes`,
    want: `${least} bytes, as its header says`,
    hint: "get the file anew",
  });
}
