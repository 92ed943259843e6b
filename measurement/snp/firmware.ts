import { Cursor } from "../../bytes/cursor.ts";
import { toLatin1 } from "../../bytes/encode.ts";
import { malformedFirmware, MeasurementError, readingFirmware } from "../error.ts";
import { type FooterTable, numberIn, readFooterTable } from "../firmware/footer-table.ts";

/**
 * What OVMF tells whoever starts an SNP guest with it (edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm): which pages
 * beside its own the guest begins with, where the kernel's hashes go, and where further vCPUs begin.
 */

const SEV_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc";
const SEV_HASH_TABLE = "7255371f-3a3b-4b04-927b-1da6efa8d454";
const SEV_ES_RESET_BLOCK = "00f771de-1a7e-4fcb-890e-68c77e2fb44e";

export const PAGE_SIZE = 4096;
const FOUR_GIB = 2 ** 32;
const HEADER_SIZE = 16;
const SECTION_SIZE = 12;
/** Firmware that exists has at most eight. */
const MAX_SECTIONS = 64;
/** 4 GiB in pages would take minutes; firmware that exists asks for some hundred. */
const MAX_PAGES = 65_536;

const SECTION_KINDS = { 1: "memory", 2: "secrets", 3: "cpuid", 4: "svsm-caa", 16: "kernel-hashes" } as const;

export interface SnpSection {
  readonly kind: (typeof SECTION_KINDS)[keyof typeof SECTION_KINDS];
  /** Guest-physical, at the beginning of a page. */
  readonly address: number;
  /** Bytes, whole pages. */
  readonly size: number;
}

export interface SnpFirmware {
  /** All of the file, which ends at 4 GiB. */
  readonly bytes: Buffer;
  /** Guest-physical. */
  readonly address: number;
  /** In the order in which they are measured. */
  readonly sections: readonly SnpSection[];
  /** Where the firmware looks for the kernel's hashes; undefined: it does not look. Guest-physical. */
  readonly hashTable: number | undefined;
  /** Where a vCPU after the first begins; undefined: the firmware does not say. */
  readonly resetVector: number | undefined;
}

/**
 * @param bytes of the file, as QEMU's `-bios` gets it
 * @throws MeasurementError malformed_firmware, no_snp_metadata
 */
export function parseSnpFirmware(bytes: Buffer): SnpFirmware {
  const table = readFooterTable(bytes);
  const address = FOUR_GIB - bytes.length;
  const sections = readSections(bytes, table);
  requireApart([...sections, { address, size: bytes.length }]);
  return {
    bytes,
    address,
    sections,
    // Zero stands for: not supported (QEMU, target/i386/sev.c).
    hashTable: numberIn(table, SEV_HASH_TABLE, "the address of the hash table") || undefined,
    resetVector: numberIn(table, SEV_ES_RESET_BLOCK, "the reset vector of further vCPUs") || undefined,
  };
}

function readSections(bytes: Buffer, table: FooterTable): readonly SnpSection[] {
  const fromEnd = numberIn(table, SEV_METADATA, "the offset of the SEV metadata");
  if (fromEnd === undefined) {
    throw new MeasurementError("no_snp_metadata", "the firmware has no metadata for SEV-SNP", {
      where: "the table at its end",
      got: `${table.size} entries`,
      want: `an entry ${SEV_METADATA}`,
      hint: "take a build for SEV-SNP, like kata-deploy's AMDSEV.fd",
    });
  }
  const start = bytes.length - fromEnd;
  if (start < 0) throw malformedFirmware("the offset of the SEV metadata", `${fromEnd}`, `at most ${bytes.length}`);
  return readingFirmware(() => {
    const metadata = new Cursor(bytes.subarray(start, start + HEADER_SIZE + MAX_SECTIONS * SECTION_SIZE), 0, start);
    const signature = toLatin1(metadata.bytes(4, "the signature of the SEV metadata"));
    const size = metadata.u32le("the size of the SEV metadata");
    const version = metadata.u32le("the version of the SEV metadata");
    const count = metadata.u32le("the number of sections");
    requireThat("the signature of the SEV metadata", JSON.stringify(signature), '"ASEV"', signature === "ASEV");
    requireThat("the version of the SEV metadata", `${version}`, "1", version === 1);
    requireThat("the number of sections", `${count}`, `1 to ${MAX_SECTIONS}`, count >= 1 && count <= MAX_SECTIONS);
    const wanted = HEADER_SIZE + count * SECTION_SIZE;
    requireThat("the size of the SEV metadata", `${size}`, `${wanted} for ${count} sections`, size >= wanted);
    const sections = Array.from({ length: count }, (_, index) => readSection(metadata, index));
    const pages = sections.reduce((sum, section) => sum + section.size / PAGE_SIZE, 0);
    requireThat("the sections", `${pages} pages`, `at most ${MAX_PAGES}`, pages <= MAX_PAGES);
    return sections;
  });
}

function readSection(metadata: Cursor, index: number): SnpSection {
  const name = `section ${index}`;
  const address = metadata.u32le(`the address of ${name}`);
  const size = metadata.u32le(`the size of ${name}`);
  const type = metadata.u32le(`the type of ${name}`);
  const [, kind] = Object.entries(SECTION_KINDS).find(([number]) => Number(number) === type) ?? [];
  if (kind === undefined) {
    throw malformedFirmware(`the type of ${name}`, `${type}`, `one of ${Object.keys(SECTION_KINDS).join(", ")}`);
  }
  const isWhole = address % PAGE_SIZE === 0 && size % PAGE_SIZE === 0 && size > 0;
  requireThat(name, `${hex(size)} bytes at ${hex(address)}`, "whole pages", isWhole);
  const single = kind !== "memory" && kind !== "svsm-caa";
  requireThat(`the size of ${name} (${kind})`, hex(size), "one page", !single || size === PAGE_SIZE);
  return { kind, address, size };
}

/** What is measured twice is not what the guest begins with. */
function requireApart(ranges: readonly { readonly address: number; readonly size: number }[]): void {
  const sorted = ranges.toSorted((a, b) => a.address - b.address);
  for (const [index, { address, size }] of sorted.entries()) {
    const next = sorted[index + 1]?.address ?? FOUR_GIB;
    requireThat(
      `what is loaded at ${hex(address)}`,
      `${hex(size)} bytes`,
      `at most ${hex(next - address)}`,
      address + size <= next,
    );
  }
}

function requireThat(where: string, got: string, want: string, holds: boolean): void {
  if (!holds) throw malformedFirmware(where, got, want);
}

function hex(number: number): string {
  return `0x${number.toString(16)}`;
}
