import { type Command, InvalidArgumentError, Option } from "commander";
import { fromHex } from "../../bytes/hex.ts";
import { KATA_DEFAULTS, KATA_SHIMS } from "../../measurement/kata-vcpus.ts";
import { MAX_VCPUS } from "../../measurement/snp/measure.ts";
import { KATA_VCPU_TYPE, VCPU_TYPES } from "../../measurement/snp/vcpu-types.ts";
import type { Context } from "../context.ts";
import { collect, examples } from "../options.ts";
import type { SnpOptions } from "./snp.ts";
import type { TdxOptions } from "./tdx.ts";

/** `contrast measure …`: what reports of a guest will say, from the files that it is started with. */

export function addMeasureCommand(program: Command, context: () => Context): void {
  const measure = program
    .command("measure")
    .description("compute a guest's measurements from the files that it is started with");
  addSnp(measure, context);
  addTdx(measure, context);
}

function addSnp(measure: Command, context: () => Context): void {
  measure
    .command("snp")
    .description("compute MEASUREMENT of guests of AMD SEV-SNP under QEMU, for each number of vCPUs")
    .requiredOption("--firmware <file>", "the firmware, like kata-deploy's AMDSEV.fd")
    .option("--kernel <file>", "the kernel")
    .option("--initrd <file>", "the initrd, if there is one")
    .option("--cmdline <text>", "the kernel's command line, agent.* parameters included; @file reads it from a file")
    .option("--vcpus <number>", "a number of vCPUs (repeatable)", collectVcpus)
    .option("--pods <file...>", "Kubernetes files or folders whose pods say how many vCPUs (repeatable)", collect)
    .addOption(new Option("--shim <name>", "the runtime of Kata (default: both)").choices(KATA_SHIMS))
    .option("--default-vcpus <number>", "default_vcpus of Kata's configuration", parseCpus, KATA_DEFAULTS.defaultVcpus)
    .option(
      "--overhead-vcpus <number>",
      "overhead_vcpus of Kata's configuration, of runtime-rs alone",
      parseCpus,
      KATA_DEFAULTS.overheadVcpus,
    )
    .addOption(
      new Option("--vcpu-type <name>", "QEMU's model of the vCPUs").choices(VCPU_TYPES).default(KATA_VCPU_TYPE),
    )
    .option("--vcpu-signature <hex>", "EAX of CPUID function 1, for a model that is not among these", parseU32)
    .option("--guest-features <hex>", "SEV_FEATURES of the vCPUs (default: 1)", parseU64)
    .option("--policy <hex>", "guest policy, for the ID block alone (default: 30000)", parsePolicy)
    .option("--id-key <pem>", "private key, ECDSA P-384: make ID blocks, signed with it")
    .option("--author-key <pem>", "  private key that signs the ID key")
    .option("--family-id <hex>", "  FAMILY_ID of the ID block, 16 bytes (default: zeros)", parseId)
    .option("--image-id <hex>", "  IMAGE_ID of the ID block, 16 bytes (default: zeros)", parseId)
    .option("--guest-svn <number>", "  GUEST_SVN of the ID block (default: 0)", parseSvn)
    .addHelpText(
      "after",
      examples(
        "contrast --output json measure snp --firmware AMDSEV.fd \\",
        "    --kernel vmlinuz --cmdline @cmdline.txt --pods deployment/ \\",
        "    > measurements.json",
        "contrast measure snp --firmware AMDSEV.fd --kernel vmlinuz \\",
        "    --cmdline 'panic=1 agent.log=info' --vcpus 1 --vcpus 2",
      ),
    )
    .action(async (options: SnpOptions) => {
      const { measureSnpGuests } = await import("./snp.ts");
      await measureSnpGuests(context(), options);
    });
}

function addTdx(measure: Command, context: () => Context): void {
  measure
    .command("tdx")
    .description("compute MRTD and RTMR 1 to 3 of guests of Intel TDX under QEMU 10.2 and later")
    .requiredOption("--firmware <file>", "the firmware, like kata-deploy's OVMF.inteltdx.fd")
    .option("--kernel <file>", "the kernel")
    .option("--initrd <file>", "the initrd, if there is one")
    .option("--cmdline <text>", "the kernel's command line, agent.* parameters included; @file reads it from a file")
    .option("--memory <number>", "the guest's memory in MiB, for a part of RTMR 0", parseMemory)
    .option("--event-log <file>", "CCEL of a guest of this size that you trust, for the rest of RTMR 0")
    .addHelpText(
      "after",
      examples(
        "contrast --output json measure tdx --firmware OVMF.inteltdx.fd \\",
        "    --kernel vmlinuz --cmdline @cmdline.txt --memory 2048 \\",
        "    > measurements.json",
        "contrast measure tdx --firmware OVMF.inteltdx.fd --kernel vmlinuz \\",
        "    --cmdline @cmdline.txt --memory 2048 --event-log CCEL",
      ),
    )
    .action(async (options: TdxOptions) => {
      const { measureTdxGuest } = await import("./tdx.ts");
      await measureTdxGuest(context(), options);
    });
}

/** Several may stand in one value. */
function collectVcpus(text: string, before: readonly number[] = []): readonly number[] {
  const numbers = text.split(",").map((number) => (/^[1-9]\d{0,3}$/.test(number) ? Number(number) : NaN));
  if (numbers.every((number) => number <= MAX_VCPUS)) return [...before, ...numbers];
  throw new InvalidArgumentError(`Want a whole number from 1 to ${MAX_VCPUS}.`);
}

function parseCpus(text: string): number {
  if (/^\d{1,3}(?:\.\d{1,6})?$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Want a number of CPUs, like 1 or 0.4.");
}

function parseMemory(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Want a whole number of MiB, like 2048.");
}

function parseSvn(text: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) <= 0xffff_ffff) return Number(text);
  throw new InvalidArgumentError("Want a whole number of 32 bits.");
}

function parseU32(text: string): number {
  return Number(parseHex(text, 8));
}

function parseU64(text: string): bigint {
  return parseHex(text, 16);
}

/** Bit 17 is reserved and must be one (AMD publication 56860, "Guest Policy Structure"). */
function parsePolicy(text: string): bigint {
  const policy = parseU64(text);
  if ((policy & (1n << 17n)) !== 0n) return policy;
  throw new InvalidArgumentError("Want a guest policy with bit 17, like 30000.");
}

function parseHex(text: string, digits: number): bigint {
  const [, number] = /^(?:0x)?([0-9a-fA-F]+)$/.exec(text) ?? [];
  if (number !== undefined && number.length <= digits) return BigInt(`0x${number}`);
  throw new InvalidArgumentError(`Want up to ${digits} hexadecimal digits.`);
}

function parseId(text: string): Uint8Array {
  const bytes = fromHex(text, 16);
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError("Want 16 bytes, that is 32 hexadecimal digits.");
}
