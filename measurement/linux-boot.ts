import { MeasurementError } from "./error.ts";

/**
 * The setup header of a Linux kernel (Documentation/arch/x86/boot.rst). What has none is not started by the firmware, so
 * that its measurement would be that of no guest.
 */

const BOOT_FLAG = 0xaa55;
const MAGIC = "HdrS";
const SECTOR = 512;
/** Where a kernel says nothing, it means four sectors. */
const DEFAULT_SETUP_SECTORS = 4;

/** @throws MeasurementError malformed_kernel, malformed_command_line */
export function requireBootable(boot: { readonly kernel: Buffer; readonly commandLine: string }): void {
  requireKernel(boot.kernel);
  if (!boot.commandLine.includes("\0")) return;
  throw new MeasurementError("malformed_command_line", "the command line has a byte that ends it", {
    where: `byte ${Buffer.from(boot.commandLine).indexOf(0)}`,
    got: "a zero byte",
    want: "text",
    hint: "what follows would not reach the kernel; leave the byte out",
  });
}

/** @throws MeasurementError malformed_kernel */
function requireKernel(kernel: Buffer): void {
  const refuse = (where: string, got: string, want: string): MeasurementError =>
    new MeasurementError("malformed_kernel", "the file is no kernel for x86-64, or it is cut", {
      where,
      got,
      want,
      hint: "give the bzImage that the VM is started with; of kata-deploy it is the target of a link vmlinuz-*",
    });
  if (kernel.length < 2 * SECTOR) throw refuse("its size", `${kernel.length} bytes`, `more than ${2 * SECTOR} bytes`);
  const flag = kernel.readUInt16LE(0x1fe);
  if (flag !== BOOT_FLAG) throw refuse("boot_flag at 0x1fe", `0x${flag.toString(16)}`, "0xaa55");
  const magic = kernel.toString("latin1", 0x202, 0x206);
  if (magic !== MAGIC) throw refuse("header at 0x202", JSON.stringify(magic), JSON.stringify(MAGIC));
  // In units of 16 bytes, without the setup; QEMU does not look, so that a cut kernel has a measurement, too.
  const setup = (1 + (kernel[0x1f1] || DEFAULT_SETUP_SECTORS)) * SECTOR;
  const least = setup + kernel.readUInt32LE(0x1f4) * 16;
  if (kernel.length < least) throw refuse("its size", `${kernel.length} bytes`, `${least} bytes, as its header says`);
}
