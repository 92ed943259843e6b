import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { MeasurementError } from "../error.ts";
import {
  CERTIFICATES_AT,
  CHECKSUM_AT,
  INTEL_TDX,
  makeFirmware,
  makeKernel,
  type TdxSectionSpec,
} from "../test-firmware.ts";
import { authenticodeDigest } from "./authenticode.ts";
import { parseTdxFirmware } from "./firmware.ts";
import { mrTd } from "./mrtd.ts";
import { commandLineEvents, kernelEvents, replay, type RtmrEvent } from "./rtmr.ts";
import { knownConfigurationEvents, leastMemory } from "./td-hob.ts";

const firmware = makeFirmware({ tdx: INTEL_TDX });
const sha384 = (...bytes: readonly Uint8Array[]): Buffer => createHash("sha384").update(Buffer.concat(bytes)).digest();
const digestOf = (events: readonly RtmrEvent[], index: number): string => events[index]?.digest.toString("hex") ?? "";

function code(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof MeasurementError) return error.code;
    throw error;
  }
  return undefined;
}

test("MRTD is the hash of what the TDX module was told, step by step", () => {
  const entry = (operation: string, address: bigint): Buffer => {
    const bytes = Buffer.alloc(128);
    bytes.write(operation);
    bytes.writeBigUInt64LE(address, 16);
    return bytes;
  };
  const page = firmware.subarray(0x7000, 0x8000);
  const tdx: TdxSectionSpec[] = [
    { offset: 0x7000, length: 4096, address: 0xffff_f000n, size: 4096n, type: 0, attributes: 1 },
    { offset: 0, length: 0, address: 0x1000n, size: 8192n, type: 3, attributes: 0 },
    { offset: 0, length: 0, address: 0x8000n, size: 4096n, type: 4, attributes: 2 },
  ];
  const file = makeFirmware({ tdx });
  page.copy(file, 0x7000, 0, 0x800);
  const contents = file.subarray(0x7000, 0x8000);
  const chunks = Array.from({ length: 16 }, (_, index) => [
    entry("MR.EXTEND", 0xffff_f000n + BigInt(index * 256)),
    contents.subarray(index * 256, (index + 1) * 256),
  ]);
  const want = sha384(
    entry("MEM.PAGE.ADD", 0xffff_f000n),
    ...chunks.flat(),
    entry("MEM.PAGE.ADD", 0x1000n),
    entry("MEM.PAGE.ADD", 0x2000n),
  );
  expect(mrTd(parseTdxFirmware(file))).toEqual(want);
});

test("a changed byte of the code changes MRTD, one of the variables does not", () => {
  const before = mrTd(parseTdxFirmware(firmware));
  const changed = (at: number): Buffer => {
    const file = Buffer.from(firmware);
    file.writeUInt8(file.readUInt8(at) ^ 1, at);
    return mrTd(parseTdxFirmware(file));
  };
  fc.assert(
    fc.property(fc.integer({ min: 0x2000, max: 0x6fff }), (at) => {
      expect(changed(at)).not.toEqual(before);
    }),
    { numRuns: 40 },
  );
  expect(changed(0x100)).toEqual(before);
});

test.each([
  // Of an event log in the tests of Confidential Containers' trustee (deps/eventlog/test_data/CCEL_data_ovmf).
  [2048, "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749"],
  // Of evidence in the tests of dstack (guest-agent/fixtures/attestation.bin), whose quote reports what its log leads to.
  [16_384, "cd2312a0d87ef3c4a928df87088969a80b33d7bf3fc584bdde637b09ed808a8d821a56b78a13a6eb506db7578444abbe"],
])("the list of memory is the one that a guest of %d MiB has recorded", (memory, digest) => {
  expect(digestOf(knownConfigurationEvents(parseTdxFirmware(firmware), memory), 0)).toBe(digest);
});

test("the list of memory depends on the memory, and there is none without it", () => {
  const sections = parseTdxFirmware(firmware);
  const sizes = [1024, 2048, 2815, 2816, 4096, 65_536];
  const digests = sizes.map((memory) => digestOf(knownConfigurationEvents(sections, memory), 0));
  expect(new Set(digests).size).toBe(sizes.length);
  expect(knownConfigurationEvents(sections, undefined).map(({ what }) => what)).toEqual([
    "the firmware's variables (CFV)",
  ]);
  expect(leastMemory(sections)).toBe(9);
});

const VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const NO_OVMF = existsSync(VARIABLES) ? "" : ": there is no OVMF; Debian's package ovmf has it";

test.skipIf(NO_OVMF !== "")(`the variables of Debian's firmware are those that a guest has recorded${NO_OVMF}`, () => {
  const variables = readFileSync(VARIABLES);
  const size = Math.ceil(variables.length / 4096) * 4096;
  const section = { offset: 0, length: size, address: 0xff00_0000n, size: BigInt(size), type: 1, attributes: 0 };
  const file = makeFirmware({ size: size + 4096, tdx: [section] });
  variables.copy(file);
  expect(digestOf(knownConfigurationEvents(parseTdxFirmware(file), undefined), 0)).toMatch(/^344bc51c980ba621aaa00da3/);
});

test("the events of RTMR1 behind the kernel are those that guests have recorded, in their order", () => {
  const events = kernelEvents({ kernel: makeKernel(), initrd: undefined, commandLine: "a" });
  expect(events.slice(1).map(({ digest }) => digest.toString("hex", 0, 12))).toEqual([
    "77a0dab2312b4e1e57a84d86",
    "394341b7182cd227c5c6b07e",
    "214b0bef1379756011344877",
    "0a2e01c85deae718a530ad8c",
  ]);
});

test("a register is the chain over its events", () => {
  const [a, b] = [sha384(Buffer.from("a")), sha384(Buffer.from("b"))];
  expect(replay([])).toEqual(Buffer.alloc(48));
  const events = [a, b].map((digest) => ({ what: "", digest }));
  expect(replay(events)).toEqual(sha384(sha384(Buffer.alloc(48), a), b));
});

test("RTMR2 has the command line in UTF-16 with its end, and the initrd where there is one", () => {
  const kernel = makeKernel();
  const alone = commandLineEvents({ kernel, initrd: undefined, commandLine: "a=ä" });
  expect(alone.map(({ digest }) => digest)).toEqual([sha384(Buffer.from("a=ä\0", "utf16le"))]);
  const both = commandLineEvents({ kernel, initrd: Buffer.from("x"), commandLine: "a" });
  expect(both.map(({ digest }) => digest)).toEqual([
    sha384(Buffer.from("initrd=initrd a\0", "utf16le")),
    sha384(Buffer.from("x")),
  ]);
});

test("what signing changes does not change a kernel's digest, everything else does", () => {
  const kernel = makeKernel();
  const before = authenticodeDigest(kernel);
  const with_ = (at: number, value: number): Buffer => {
    const changed = Buffer.from(kernel);
    changed.writeUInt8(value, at);
    return authenticodeDigest(changed);
  };
  expect(authenticodeDigest(makeKernel({ certificates: 64 }))).toEqual(before);
  expect(with_(CHECKSUM_AT, 1)).toEqual(before);
  // Past the end of the file they would hide what is there.
  expect(code(() => with_(CERTIFICATES_AT + 7, 0xff))).toBeUndefined();
  expect(with_(kernel.length - 1, 0)).not.toEqual(before);
  expect(with_(600, 1)).not.toEqual(before);
  expect(authenticodeDigest(makeKernel({ extra: Buffer.from("more") }))).not.toEqual(before);
});

test("the digest is headers, sections by their place, and what follows them", () => {
  const extra = Buffer.from("extra");
  const kernel = makeKernel({ extra });
  const headers = [
    kernel.subarray(0, CHECKSUM_AT),
    kernel.subarray(CHECKSUM_AT + 4, CERTIFICATES_AT),
    kernel.subarray(CERTIFICATES_AT + 8, 512),
  ];
  const want = sha384(...headers, kernel.subarray(512, 1024), kernel.subarray(1024, 1024 + 4096), extra);
  expect(authenticodeDigest(kernel)).toEqual(want);
});

test.each<[string, (kernel: Buffer) => void]>([
  ["without a PE header", (kernel) => void kernel.writeUInt32LE(0x200, 0x3c)],
  ["of 32 bits", (kernel) => void kernel.writeUInt16LE(0x10b, 0x58)],
  ["whose section is past the end", (kernel) => void kernel.writeUInt32LE(0xffff_0000, 0x58 + 112 + 48 + 20)],
  ["whose header is past the end", (kernel) => void kernel.writeUInt32LE(0xffff_ffff, 0x3c)],
  [
    "whose certificates are larger than it",
    (kernel) => {
      kernel.writeUInt32LE(0xffff_ffff, CERTIFICATES_AT + 4);
      kernel.writeUInt32LE(256, 0x58 + 112 + 48 + 16);
    },
  ],
])("a kernel %s is refused", (_, damage) => {
  const kernel = makeKernel();
  damage(kernel);
  expect(code(() => authenticodeDigest(kernel))).toBe("malformed_kernel");
});

const changed = (index: number, change: Partial<TdxSectionSpec>): TdxSectionSpec[] =>
  INTEL_TDX.map((section, at) => (at === index ? { ...section, ...change } : section));

test.each<[string, readonly TdxSectionSpec[]]>([
  ["of no section", []],
  ["of a section that is no page", changed(0, { address: 0xffff_a001n })],
  ["of a section that is measured beyond its data", changed(0, { length: 0x5000 })],
  ["of data past its end", changed(0, { offset: 0x4000 })],
  ["of more data than memory", changed(1, { size: 0x1000n })],
  ["of an unknown type", changed(2, { type: 9 })],
  ["of unknown attributes", changed(2, { attributes: 4 })],
  ["of overlapping sections", changed(3, { address: 0x81_0000n })],
  ["of terabytes", changed(2, { size: 1n << 40n })],
])("firmware for TDX %s is refused", (_, tdx) => {
  expect(code(() => parseTdxFirmware(makeFirmware({ tdx })))).toBe("malformed_firmware");
});

test("firmware without metadata for TDX is refused", () => {
  expect(code(() => parseTdxFirmware(makeFirmware()))).toBe("no_tdx_metadata");
});
