import { createHash } from "node:crypto";
import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { toLatin1 } from "../../bytes/encode.ts";
import { MeasurementError } from "../error.ts";

/**
 * The digest of a PE image without what its signing changes (Microsoft, "Windows Authenticode Portable Executable
 * Signature Format", "Calculating the PE Image Hash"), as OVMF computes it of the kernel that it starts (edk2,
 * OvmfPkg/Tcg/TdTcg2Dxe/MeasureBootPeCoff.c): nothing is padded, and what follows the sections counts.
 */

const PE32_PLUS = 0x20b;
/** Offsets in the optional header of PE32+. */
const SIZE_OF_HEADERS = 60;
const CHECKSUM = 64;
const NUMBER_OF_DIRECTORIES = 108;
const DIRECTORIES = 112;
/** The certificate table is the fifth directory. */
const CERTIFICATES = 4;
const SECTION_HEADER_SIZE = 40;

/**
 * @param image a Linux kernel with an EFI stub
 * @returns 48 bytes, SHA-384
 * @throws MeasurementError malformed_kernel
 */
export function authenticodeDigest(image: Buffer): Buffer {
  try {
    return digestOf(image);
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    throw new MeasurementError("malformed_kernel", "the kernel is none that firmware can start, or it is cut", {
      where: `${error.field} at offset 0x${error.offset.toString(16)}`,
      got: error.got,
      want: error.want,
      hint: "give the bzImage of a kernel for x86-64 with CONFIG_EFI_STUB",
    });
  }
}

/** @throws MalformedBytes */
function digestOf(image: Buffer): Buffer {
  const dos = image.toString("latin1", 0, 2);
  if (dos !== "MZ") throw new MalformedBytes("e_magic", 0, JSON.stringify(dos), '"MZ"');
  const header = cursorAt(image, 0x3c).u32le("e_lfanew");
  const pe = cursorAt(image, header);
  const signature = toLatin1(pe.bytes(4, "the PE signature"));
  if (signature !== "PE\0\0")
    throw new MalformedBytes("the PE signature", header, JSON.stringify(signature), '"PE\\0\\0"');
  pe.bytes(2, "Machine");
  const sectionCount = pe.u16le("NumberOfSections");
  pe.bytes(12, "TimeDateStamp, PointerToSymbolTable, NumberOfSymbols");
  const optionalSize = pe.u16le("SizeOfOptionalHeader");
  pe.bytes(2, "Characteristics");
  const optional = pe.offset;
  const magic = pe.u16le("Magic");
  if (magic !== PE32_PLUS) throw new MalformedBytes("Magic", optional, `0x${magic.toString(16)}`, "0x20b (PE32+)");
  const headers = cursorAt(image, optional + SIZE_OF_HEADERS).u32le("SizeOfHeaders");
  const directories = cursorAt(image, optional + NUMBER_OF_DIRECTORIES).u32le("NumberOfRvaAndSizes");
  const checksum = optional + CHECKSUM;
  const hasCertificates = directories > CERTIFICATES;
  const certificates = optional + DIRECTORIES + CERTIFICATES * 8;
  const certificateSize = hasCertificates ? cursorAt(image, certificates + 4).u32le("the size of certificates") : 0;

  const hash = createHash("sha384");
  let hashed = 0;
  const update = (from: number, to: number, field: string): void => {
    if (from > to || to > image.length) {
      throw new MalformedBytes(
        field,
        from,
        `an end at 0x${to.toString(16)} of 0x${image.length.toString(16)}`,
        "a part",
      );
    }
    hash.update(image.subarray(from, to));
  };
  update(0, checksum, "the header");
  update(checksum + 4, hasCertificates ? certificates : headers, "the header");
  if (hasCertificates) update(certificates + 8, headers, "the header");
  hashed = headers;
  for (const { at, size } of sectionsOf(image, optional + optionalSize, sectionCount)) {
    update(at, at + size, "a section");
    hashed += size;
  }
  if (image.length > hashed) update(hashed, image.length - certificateSize, "what follows the sections");
  return hash.digest();
}

/** By their place in the file; those without data left out. */
function sectionsOf(image: Buffer, start: number, count: number): readonly { at: number; size: number }[] {
  const table = cursorAt(image, start);
  const sections = Array.from({ length: count }, () => {
    const section = table.inner(SECTION_HEADER_SIZE, "a section's header");
    section.bytes(16, "Name, VirtualSize, VirtualAddress");
    const size = section.u32le("SizeOfRawData");
    return { at: section.u32le("PointerToRawData"), size };
  });
  return sections.filter(({ size }) => size > 0).toSorted((a, b) => a.at - b.at);
}

/** Headers are within the first page; `Cursor` copies what it gets. */
function cursorAt(image: Buffer, offset: number): Cursor {
  return new Cursor(image.subarray(offset, offset + 4096), 0, offset);
}
