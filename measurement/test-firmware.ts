import { u16le, u32le, u64le } from "../bytes/numbers.ts";
import { guidBytes } from "./firmware/guid.ts";

/** For tests: files in the layout of OVMF, with the tables at their end, and of a Linux kernel. */

const GUIDS = {
  footer: "96b582de-1fb2-45f7-baea-a366c55a082d",
  hashTable: "7255371f-3a3b-4b04-927b-1da6efa8d454",
  resetBlock: "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
  sevMetadata: "dc886566-984a-4798-a75e-5585a7bf67cc",
  tdxMetadata: "e47a6535-984a-4798-865e-4685a7bf8ec2",
} as const;

export interface SnpSectionSpec {
  readonly address: number;
  readonly size: number;
  /** 1 memory, 2 secrets, 3 CPUID, 4 SVSM CAA, 16 kernel hashes. */
  readonly type: number;
}

export interface TdxSectionSpec {
  readonly offset: number;
  readonly length: number;
  readonly address: bigint;
  readonly size: bigint;
  readonly type: number;
  readonly attributes: number;
}

export interface FirmwareSpec {
  /** Bytes, whole pages. */
  readonly size?: number;
  /** What the file is filled with. */
  readonly fill?: number;
  readonly snp?: readonly SnpSectionSpec[] | undefined;
  readonly tdx?: readonly TdxSectionSpec[] | undefined;
  readonly hashTable?: number | undefined;
  readonly resetVector?: number | undefined;
}

/** As edk2's build for AmdSev has them. */
export const AMD_SEV = {
  snp: [
    { address: 0x80_0000, size: 0x9000, type: 1 },
    { address: 0x80_a000, size: 0x3000, type: 1 },
    { address: 0x80_d000, size: 0x1000, type: 2 },
    { address: 0x80_e000, size: 0x1000, type: 3 },
    { address: 0x81_0000, size: 0x1000, type: 16 },
    { address: 0x81_1000, size: 0xf000, type: 1 },
  ],
  hashTable: 0x81_0c00,
  resetVector: 0x80_b004,
} as const satisfies FirmwareSpec;

/** As edk2's build for TDX has them, smaller. The file needs 8 pages. */
export const INTEL_TDX: readonly TdxSectionSpec[] = [
  { offset: 0x2000, length: 0x6000, address: 0xffff_a000n, size: 0x6000n, type: 0, attributes: 1 },
  { offset: 0, length: 0x2000, address: 0xffff_8000n, size: 0x2000n, type: 1, attributes: 0 },
  { offset: 0, length: 0, address: 0x81_0000n, size: 0x1_0000n, type: 3, attributes: 0 },
  { offset: 0, length: 0, address: 0x80_b000n, size: 0x2000n, type: 3, attributes: 0 },
  { offset: 0, length: 0, address: 0x80_9000n, size: 0x2000n, type: 2, attributes: 0 },
  { offset: 0, length: 0, address: 0x80_0000n, size: 0x6000n, type: 3, attributes: 0 },
];

/** Where the metadata stands, from the end of the file. */
const SEV_FROM_END = 0x800;
const TDX_FROM_END = 0x600;

export function makeFirmware(spec: FirmwareSpec = AMD_SEV): Buffer {
  const { size = 8 * 4096, fill = 0xa5, snp, tdx, hashTable, resetVector } = spec;
  const file = Buffer.alloc(size, fill);
  const entries: Buffer[] = [];
  if (snp !== undefined) {
    const sections = snp.map(({ address, size: length, type }) => [u32le(address), u32le(length), u32le(type)]);
    const header = [Buffer.from("ASEV"), u32le(16 + 12 * snp.length), u32le(1), u32le(snp.length)];
    Buffer.concat([...header, ...sections.flat()]).copy(file, size - SEV_FROM_END);
    entries.push(entry(GUIDS.sevMetadata, Buffer.from(u32le(SEV_FROM_END))));
  }
  if (tdx !== undefined) {
    const sections = tdx.map((section) => [
      u32le(section.offset),
      u32le(section.length),
      u64le(section.address),
      u64le(section.size),
      u32le(section.type),
      u32le(section.attributes),
    ]);
    const header = [Buffer.from("TDVF"), u32le(16 + 32 * tdx.length), u32le(1), u32le(tdx.length)];
    Buffer.concat([...header, ...sections.flat()]).copy(file, size - TDX_FROM_END);
    entries.push(entry(GUIDS.tdxMetadata, Buffer.from(u32le(TDX_FROM_END))));
  }
  if (hashTable !== undefined) entries.push(entry(GUIDS.hashTable, Buffer.concat([u32le(hashTable), u32le(0x400)])));
  if (resetVector !== undefined) entries.push(entry(GUIDS.resetBlock, Buffer.from(u32le(resetVector))));
  const table = Buffer.concat(entries);
  const footer = Buffer.concat([u16le(table.length + 18), guidBytes(GUIDS.footer)]);
  const whole = Buffer.concat([table, footer]);
  whole.copy(file, size - 32 - whole.length);
  return file;
}

/** Data, length of all of it, GUID. */
function entry(guid: string, data: Buffer): Buffer {
  return Buffer.concat([data, u16le(data.length + 18), guidBytes(guid)]);
}

export interface KernelSpec {
  /** What its code is filled with. */
  readonly fill?: number;
  /** Appended behind the sections. */
  readonly extra?: Buffer;
  /** Size of a certificate table at the end. */
  readonly certificates?: number;
}

/** Where the PE header is, and the certificates' directory in it. */
const PE = 0x40;
const OPTIONAL = PE + 24;
export const CERTIFICATES_AT = OPTIONAL + 112 + 4 * 8;
export const CHECKSUM_AT = OPTIONAL + 64;

/** A bzImage with an EFI stub: two sectors of setup, 4 KiB of code. */
export function makeKernel({ fill = 0x90, extra = Buffer.alloc(0), certificates = 0 }: KernelSpec = {}): Buffer {
  const setup = Buffer.alloc(1024);
  const code = Buffer.alloc(4096, fill);
  setup.write("MZ", 0, "latin1");
  setup.writeUInt32LE(PE, 0x3c);
  setup.write("PE\0\0", PE, "latin1");
  setup.writeUInt16LE(0x8664, PE + 4);
  setup.writeUInt16LE(2, PE + 6);
  setup.writeUInt16LE(112 + 6 * 8, PE + 20);
  setup.writeUInt16LE(0x20b, OPTIONAL);
  setup.writeUInt32LE(512, OPTIONAL + 60);
  setup.writeUInt32LE(6, OPTIONAL + 108);
  const sections = OPTIONAL + 112 + 6 * 8;
  // Out of order: they are hashed by their place in the file.
  for (const [index, { name, size, at }] of [
    { name: ".text", size: code.length, at: 1024 },
    { name: ".setup", size: 512, at: 512 },
  ].entries()) {
    setup.write(name, sections + index * 40, "latin1");
    setup.writeUInt32LE(size, sections + index * 40 + 16);
    setup.writeUInt32LE(at, sections + index * 40 + 20);
  }
  setup[0x1f1] = 1;
  setup.writeUInt32LE(code.length / 16, 0x1f4);
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt16LE(0x20f, 0x206);
  const end = setup.length + code.length + extra.length;
  if (certificates > 0) {
    setup.writeUInt32LE(end, CERTIFICATES_AT);
    setup.writeUInt32LE(certificates, CERTIFICATES_AT + 4);
  }
  return Buffer.concat([setup, code, extra, Buffer.alloc(certificates, 0xce)]);
}
