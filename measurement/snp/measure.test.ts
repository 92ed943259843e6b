import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { MeasurementError } from "../error.ts";
import { isLinuxKernel } from "../linux-boot.ts";
import { AMD_SEV, type FirmwareSpec, makeFirmware, makeKernel } from "../test-firmware.ts";
import { parseSnpFirmware } from "./firmware.ts";
import { signIdBlock } from "./id-block.ts";
import type { DirectBoot } from "./kernel-hashes.ts";
import { measureSnp } from "./measure.ts";
import { VCPU_SIGNATURES } from "./vcpu-types.ts";

/** That the values are right is for `oracle.test.ts`; here is what is refused, and what changes a value. */

const VCPUS = { signature: VCPU_SIGNATURES["EPYC-v4"], features: 1n };
const BOOT: DirectBoot = { kernel: makeKernel(), initrd: Buffer.from("initrd"), commandLine: "panic=1" };

function measure(firmware: Buffer, boot: DirectBoot | undefined = BOOT, count = 2): string {
  return measureSnp(parseSnpFirmware(firmware), boot, VCPUS, [count]).get(count)?.toString("hex") ?? "";
}

function refusal(action: () => unknown): MeasurementError {
  try {
    action();
  } catch (error) {
    if (error instanceof MeasurementError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

const sections = (change: (list: { address: number; size: number; type: number }[]) => void): FirmwareSpec => {
  const snp = AMD_SEV.snp.map((section) => ({ ...section }));
  change(snp);
  return { ...AMD_SEV, snp };
};

test("one changed byte of firmware, kernel, initrd or command line changes the measurement", () => {
  const firmware = makeFirmware();
  const before = measure(firmware);
  // The tables at the end decide what is measured; they are for the fuzzer.
  const body = firmware.length - 4096;
  fc.assert(
    fc.property(fc.nat(body - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(firmware);
      changed.writeUInt8(changed.readUInt8(at) ^ flip, at);
      expect(measure(changed)).not.toBe(before);
    }),
    { numRuns: 40 },
  );
  const kernel = Buffer.from(BOOT.kernel);
  kernel.writeUInt8(0x91, kernel.length - 1);
  const others: DirectBoot[] = [
    { ...BOOT, kernel },
    { ...BOOT, initrd: Buffer.from("Initrd") },
    { ...BOOT, initrd: undefined },
    { ...BOOT, commandLine: "panic=0" },
    { ...BOOT, commandLine: "panic=1 " },
  ];
  const values = [before, ...others.map((boot) => measure(firmware, boot)), measure(firmware, BOOT, 3)];
  expect(new Set(values).size).toBe(values.length);
});

test("all numbers of vCPUs at once are what each is alone", () => {
  const firmware = parseSnpFirmware(makeFirmware());
  const together = measureSnp(firmware, BOOT, VCPUS, [4, 1, 4, 7]);
  expect([...together.keys()]).toEqual([1, 4, 7]);
  for (const [count, value] of together) expect(value.toString("hex")).toBe(measure(makeFirmware(), BOOT, count));
});

test("a kernel that would not be measured is refused by name", () => {
  const without = sections((list) => list.splice(4, 1));
  expect(refusal(() => measure(makeFirmware(without))).code).toBe("no_kernel_hashes_section");
  const untold = makeFirmware({ ...AMD_SEV, hashTable: undefined });
  expect(refusal(() => measure(untold)).code).toBe("no_kernel_hashes_section");
  expect(refusal(() => measure(makeFirmware({ ...AMD_SEV, hashTable: 0 }))).code).toBe("no_kernel_hashes_section");
});

test.each([0x80_0c00, 0x81_0f51, 0x81_1000, 0x80_ffff])(
  "a firmware that looks for the hashes at 0x%s, where none are measured, is refused",
  (hashTable) => {
    expect(refusal(() => measure(makeFirmware({ ...AMD_SEV, hashTable }))).code).toBe("kernel_hashes_misplaced");
  },
);

test("the last place for the hashes in their page is taken", () => {
  expect(() => measure(makeFirmware({ ...AMD_SEV, hashTable: 0x81_1000 - 176 }))).not.toThrow();
});

test("without a reset vector there is one vCPU", () => {
  const firmware = makeFirmware({ ...AMD_SEV, resetVector: undefined });
  expect(measure(firmware, BOOT, 1)).toHaveLength(96);
  expect(refusal(() => measure(firmware, BOOT, 2)).code).toBe("no_reset_vector");
});

test("firmware without metadata for SNP is refused", () => {
  expect(refusal(() => parseSnpFirmware(makeFirmware({ resetVector: 1 }))).code).toBe("no_snp_metadata");
  expect(refusal(() => parseSnpFirmware(Buffer.alloc(8192))).code).toBe("no_snp_metadata");
});

test.each<[string, () => Buffer]>([
  ["empty", () => Buffer.alloc(0)],
  ["cut by a byte", () => makeFirmware().subarray(0, -1)],
  ["cut to the end of its last page", () => makeFirmware().subarray(-100)],
  [
    "of a section that is no page",
    () => makeFirmware(sections((list) => (list[0] = { address: 1, size: 4096, type: 1 }))),
  ],
  ["of a section without memory", () => makeFirmware(sections((list) => (list[0] = { address: 0, size: 0, type: 1 })))],
  [
    "of two pages for kernel hashes",
    () => makeFirmware(sections((list) => (list[4] = { address: 0, size: 8192, type: 16 }))),
  ],
  [
    "of a section of an unknown type",
    () => makeFirmware(sections((list) => (list[0] = { address: 0, size: 4096, type: 7 }))),
  ],
  [
    "of sections that overlap",
    () => makeFirmware(sections((list) => (list[1] = { address: 0x80_8000, size: 0x3000, type: 1 }))),
  ],
  [
    "of a section in the firmware",
    () => makeFirmware(sections((list) => (list[1] = { address: 0xffff_f000, size: 4096, type: 1 }))),
  ],
  [
    "of gigabytes",
    () => makeFirmware(sections((list) => (list[5] = { address: 0x8000_0000, size: 0x4000_0000, type: 1 }))),
  ],
  ["of no section", () => makeFirmware({ ...AMD_SEV, snp: [] })],
  ["of more sections than there is room", () => patched(-0x800 + 12, 60)],
  ["of metadata with another signature", () => patched(-0x800, 0)],
  ["of metadata of another version", () => patched(-0x800 + 8, 2)],
  ["of a footer that is longer than the file", () => patched(-32 - 18, 0xffff)],
])("firmware %s is refused", (_, make) => {
  expect(refusal(() => parseSnpFirmware(make())).code).toBe("malformed_firmware");
});

/** @param at from the end */
function patched(at: number, value: number): Buffer {
  const firmware = makeFirmware();
  firmware.writeUInt16LE(value, firmware.length + at);
  return firmware;
}

test("a cut kernel is refused", () => {
  const cut = { ...BOOT, kernel: BOOT.kernel.subarray(0, -1) };
  expect(refusal(() => measure(makeFirmware(), cut)).code).toBe("malformed_kernel");
});

test("what is no kernel is told from one", () => {
  const others = [
    Buffer.alloc(0),
    Buffer.concat([Buffer.from("\x7fELF"), Buffer.alloc(8192)]),
    Buffer.alloc(8192, 0x30),
  ];
  expect([BOOT.kernel, ...others].map(isLinuxKernel)).toEqual([true, false, false, false]);
});

test("a command line with a zero byte is refused: the kernel would see a part of it", () => {
  const boot = { ...BOOT, commandLine: "panic=1\0init=/bin/sh" };
  expect(refusal(() => measure(makeFirmware(), boot)).code).toBe("malformed_command_line");
});

test("keys that the CPU does not verify with sign no ID block", () => {
  const id = Buffer.alloc(16);
  const fields = { measurement: Buffer.alloc(48), familyId: id, imageId: id, guestSvn: 0, policy: 0x30000n };
  const good = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
  const keys = [
    generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
    generateKeyPairSync("ed25519").privateKey,
    generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
  ];
  for (const key of keys) {
    expect(refusal(() => signIdBlock(fields, key, undefined)).code).toBe("id_key_algorithm");
    expect(refusal(() => signIdBlock(fields, good, key)).code).toBe("id_key_algorithm");
  }
});

test("without an author key its place is empty", () => {
  const id = Buffer.alloc(16, 1);
  const fields = { measurement: Buffer.alloc(48), familyId: id, imageId: id, guestSvn: 7, policy: 0x30000n };
  const { auth } = signIdBlock(fields, generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey, undefined);
  expect(auth.readUInt32LE(4)).toBe(0);
  expect(auth.subarray(0x680)).toEqual(Buffer.alloc(4096 - 0x680));
});
