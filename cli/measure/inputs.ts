import { readFile, stat } from "node:fs/promises";
import { sha256Hex } from "../../bytes/sha256.ts";
import { MAX_FIRMWARE_SIZE } from "../../measurement/firmware/footer-table.ts";
import { isLinuxKernel } from "../../measurement/linux-boot.ts";
import type { DirectBoot } from "../../measurement/snp/kernel-hashes.ts";
import { CliError, type Context } from "../context.ts";

/** The files that a guest is started with. */

export interface InputOptions {
  readonly firmware: string;
  readonly kernel?: string;
  readonly initrd?: string;
  /** The text, or `@` and the path of a file. */
  readonly cmdline?: string;
}

export interface Inputs {
  readonly firmware: Buffer;
  /** Undefined: no kernel was given. */
  readonly boot: DirectBoot | undefined;
  /** For the file of measurements. */
  readonly digests: {
    readonly firmware: string;
    readonly kernel?: string | undefined;
    readonly initrd?: string | undefined;
    readonly commandLine?: string | undefined;
  };
}

const MIB = 1024 * 1024;
const MAX_KERNEL_SIZE = 512 * MIB;
const MAX_INITRD_SIZE = 1536 * MIB;
/** Linux keeps 2 KiB on x86, with the end. OVMF puts this before it where there is an initrd. */
const MAX_COMMAND_LINE = 2047;
const INITRD_PARAMETER = "initrd=initrd ";

/** @throws CliError usage, unreadable_file, malformed_file */
export async function readInputs(options: InputOptions): Promise<Inputs> {
  const { kernel, initrd, cmdline } = options;
  if (kernel === undefined) {
    const alone = Object.entries({ "--initrd": initrd, "--cmdline": cmdline }).find(([, value]) => value !== undefined);
    if (alone !== undefined) {
      const message = "there is no kernel to start with it";
      throw new CliError("usage", message, { got: `${alone[0]} without --kernel`, want: "--kernel, too" });
    }
  }
  const firmware = await readLimited(options.firmware, "the firmware", MAX_FIRMWARE_SIZE);
  const boot = kernel === undefined ? undefined : await readBoot(kernel, initrd, cmdline ?? "");
  return {
    firmware,
    boot,
    digests: {
      firmware: sha256Hex(firmware),
      ...(boot && { kernel: sha256Hex(boot.kernel), commandLine: boot.commandLine }),
      ...(boot?.initrd && { initrd: sha256Hex(boot.initrd) }),
    },
  };
}

async function readBoot(kernel: string, initrd: string | undefined, cmdline: string): Promise<DirectBoot> {
  return {
    kernel: await readLimited(kernel, "the kernel", MAX_KERNEL_SIZE),
    initrd: initrd === undefined ? undefined : await readLimited(initrd, "the initrd", MAX_INITRD_SIZE),
    commandLine: await readCommandLine(cmdline),
  };
}

/** One line break at the end of a file is the editor's. */
async function readCommandLine(option: string): Promise<string> {
  const path = option.startsWith("@") ? option.slice(1) : undefined;
  const bytes = path === undefined ? Buffer.from(option) : await readLimited(path, "the command line", 64 * 1024);
  const text = path === undefined ? option : bytes.toString().replace(/\r?\n$/, "");
  const where = path ?? "--cmdline";
  const refuse = (got: string, want: string): CliError =>
    new CliError("malformed_file", "the command line is none that a kernel gets", { where, got, want });
  if (!Buffer.from(bytes.toString()).equals(bytes)) throw refuse("bytes that are no text", "text in UTF-8");
  if (/[\r\n]/.test(text)) throw refuse("several lines", "one line, as the runtime passes it");
  return text;
}

/**
 * @param what its name, for the error
 * @param limit bytes
 * @throws CliError unreadable_file, malformed_file
 */
export async function readLimited(path: string, what: string, limit: number): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > 0 && size <= limit) return await readFile(path);
    throw new CliError("malformed_file", `${what} has a size that none has`, {
      where: path,
      got: `${size} bytes`,
      want: `1 to ${limit} bytes`,
    });
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    const got = (cause as NodeJS.ErrnoException).code;
    const hint = "check the path and its permissions";
    throw new CliError("unreadable_file", `${what} can't be read`, { where: path, got, hint, cause });
  }
}

/** Says what is measured here and still gives the guest away. */
export function warnOfBoot(context: Context, boot: DirectBoot | undefined): void {
  if (boot === undefined) {
    context.warn("warning: no --kernel: nothing is measured but the firmware, so the host may start anything with it");
    return;
  }
  if (!isLinuxKernel(boot.kernel)) {
    context.warn("warning: the kernel is no bzImage: no firmware starts it, whatever its measurement");
  }
  if (boot.commandLine === "")
    context.warn("warning: the command line is empty; Kata passes one, see docs/measurements.md");
  const room = MAX_COMMAND_LINE - (boot.initrd === undefined ? 0 : INITRD_PARAMETER.length);
  if (Buffer.from(boot.commandLine).length > room) {
    context.warn(
      `warning: Linux cuts the command line behind ${room} bytes: what follows is measured, and has no effect`,
    );
  }
  const parameters = boot.commandLine.split(/\s+/);
  const opens = parameters.filter((parameter) => OPENING.some((pattern) => pattern.test(parameter)));
  for (const parameter of opens) {
    context.warn(`warning: the command line has ${parameter}, which lets the host into the guest`);
  }
  const unmeasured = parameters.filter((parameter) =>
    /^kata\.extension\.[^=]+\.verity_params=(?:"")?$/.test(parameter),
  );
  for (const parameter of unmeasured) {
    context.warn(
      `warning: the command line has ${parameter} without a root hash: this part of the guest is not measured`,
    );
  }
  const others = parameters.filter((parameter) => !parameter.startsWith("kata.extension.")).join(" ");
  if (boot.initrd === undefined && !/\bverity\b|root_?hash=/.test(others)) {
    context.warn(
      "warning: no dm-verity root hash in the command line, and no initrd: the guest's image is not measured",
    );
  }
}

/** Of kata-agent (src/agent/src/config.rs), systemd and Linux. */
const OPENING = [
  /^agent\.debug_console(?:_vport=.*)?$/,
  /^agent\.devmode$/,
  /^agent\.guest_components_rest_api=all$/,
  /^systemd\.debug[-_]shell(?:=(?!0|no|false|off).*)?$/,
  /^(?:rd)?init=\/(?:usr\/)?bin\/(?:ba|da|z)?sh$/,
  /^rd\.break(?:=.*)?$/,
];
