import { Cursor } from "../../bytes/cursor.ts";
import { toLatin1 } from "../../bytes/encode.ts";
import { malformedFirmware, MeasurementError, readingFirmware } from "../error.ts";
import { numberIn, readFooterTable } from "../firmware/footer-table.ts";

/**
 * What firmware for TDX tells whoever starts a guest with it (Intel TDX Virtual Firmware Design Guide, chapter 11, "TDVF
 * Metadata"): where its parts go, and which of them are measured.
 */

const TDX_METADATA = "e47a6535-984a-4798-865e-4685a7bf8ec2";

export const PAGE_SIZE = 4096;
const DESCRIPTOR_SIZE = 16;
const SECTION_SIZE = 32;
const MAX_SECTIONS = 64;
/** 256 MiB: firmware that exists takes some. */
const MAX_PAGES = 65_536;

const SECTION_KINDS = ["BFV", "CFV", "TD_HOB", "TempMem", "PermMem", "Payload", "PayloadParam"] as const;
/** Bits of the attributes. */
const MR_EXTEND = 1;
const PAGE_AUG = 2;

export interface TdxSection {
  readonly kind: (typeof SECTION_KINDS)[number];
  /** Of the file; empty: the memory begins as zeros. */
  readonly data: Buffer;
  /** Guest-physical, at the beginning of a page. */
  readonly address: bigint;
  /** Bytes, whole pages. */
  readonly size: number;
  /** The contents count for MRTD, and not the addresses alone. */
  readonly extend: boolean;
  /** The guest takes this memory itself, so that it does not count. */
  readonly augmented: boolean;
}

/**
 * @param bytes of the file, as QEMU's `-bios` gets it
 * @returns the sections in the order in which they are measured
 * @throws MeasurementError malformed_firmware, no_tdx_metadata
 */
export function parseTdxFirmware(bytes: Buffer): readonly TdxSection[] {
  const table = readFooterTable(bytes);
  const fromEnd = numberIn(table, TDX_METADATA, "the offset of the TDVF metadata");
  if (fromEnd === undefined) {
    throw new MeasurementError("no_tdx_metadata", "the firmware has no metadata for Intel TDX", {
      where: "the table at its end",
      got: `${table.size} entries`,
      want: `an entry ${TDX_METADATA}`,
      hint: "take a build for TDX, like kata-deploy's OVMF.inteltdx.fd",
    });
  }
  const start = bytes.length - fromEnd;
  if (start < 0) throw malformedFirmware("the offset of the TDVF metadata", `${fromEnd}`, `at most ${bytes.length}`);
  const sections = readingFirmware(() => readSections(bytes, start));
  requireApart(sections);
  return sections;
}

function readSections(bytes: Buffer, start: number): readonly TdxSection[] {
  const end = start + DESCRIPTOR_SIZE + MAX_SECTIONS * SECTION_SIZE;
  const metadata = new Cursor(bytes.subarray(start, end), 0, start);
  const signature = toLatin1(metadata.bytes(4, "the signature of the TDVF metadata"));
  requireThat("the signature of the TDVF metadata", JSON.stringify(signature), '"TDVF"', signature === "TDVF");
  const length = metadata.u32le("the length of the TDVF metadata");
  const version = metadata.u32le("the version of the TDVF metadata");
  const count = metadata.u32le("the number of sections");
  requireThat("the version of the TDVF metadata", `${version}`, "1", version === 1);
  requireThat("the number of sections", `${count}`, `1 to ${MAX_SECTIONS}`, count >= 1 && count <= MAX_SECTIONS);
  const wanted = DESCRIPTOR_SIZE + count * SECTION_SIZE;
  requireThat("the length of the TDVF metadata", `${length}`, `${wanted} for ${count} sections`, length === wanted);
  const sections = Array.from({ length: count }, (_, index) => readSection(metadata, bytes, `section ${index}`));
  const pages = sections.reduce((sum, { size }) => sum + size / PAGE_SIZE, 0);
  requireThat("the sections", `${pages} pages`, `at most ${MAX_PAGES}`, pages <= MAX_PAGES);
  return sections;
}

function readSection(metadata: Cursor, bytes: Buffer, name: string): TdxSection {
  const offset = metadata.u32le(`the data offset of ${name}`);
  const length = metadata.u32le(`the data size of ${name}`);
  const address = metadata.u64le(`the memory address of ${name}`);
  const memory = metadata.u64le(`the memory size of ${name}`);
  const type = metadata.u32le(`the type of ${name}`);
  const attributes = metadata.u32le(`the attributes of ${name}`);
  const kind = SECTION_KINDS[type];
  if (kind === undefined) {
    throw malformedFirmware(`the type of ${name}`, `${type}`, `0 to ${SECTION_KINDS.length - 1}`);
  }
  const extent = `0x${memory.toString(16)} bytes at 0x${address.toString(16)}`;
  const page = BigInt(PAGE_SIZE);
  const isWhole = address % page === 0n && memory % page === 0n && memory > 0n && address + memory <= 1n << 52n;
  requireThat(`the memory of ${name}`, extent, "whole pages", isWhole);
  const data = `${length} bytes at offset 0x${offset.toString(16)}`;
  requireThat(`the data of ${name}`, data, `a part of ${bytes.length} bytes`, offset + length <= bytes.length);
  requireThat(`the data of ${name}`, data, `no more than its memory, ${extent}`, BigInt(length) <= memory);
  const extend = (attributes & MR_EXTEND) !== 0;
  // QEMU would measure what follows in the file.
  requireThat(`the data of ${name}`, data, `all of its memory, ${extent}`, !extend || BigInt(length) === memory);
  requireThat(`the attributes of ${name}`, `${attributes}`, "0 to 3", attributes <= (MR_EXTEND | PAGE_AUG));
  return {
    kind,
    data: bytes.subarray(offset, offset + length),
    address,
    size: Number(memory),
    extend,
    augmented: (attributes & PAGE_AUG) !== 0,
  };
}

/** What is measured twice is not what the guest begins with. */
function requireApart(sections: readonly TdxSection[]): void {
  const sorted = sections.toSorted((a, b) => (a.address < b.address ? -1 : 1));
  for (const [index, { kind, address, size }] of sorted.entries()) {
    const next = sorted[index + 1]?.address;
    const where = `${kind} at 0x${address.toString(16)}`;
    requireThat(where, `${size} bytes`, "an end before the next section", !next || address + BigInt(size) <= next);
  }
}

function requireThat(where: string, got: string, want: string, holds: boolean): void {
  if (!holds) throw malformedFirmware(where, got, want);
}
