import { createHash, type Hash } from "node:crypto";
import { PAGE_SIZE, type TdxSection } from "./firmware.ts";

/**
 * MRTD: SHA-384 over what the TDX module was told while the guest was built (Intel TDX Module Base Architecture
 * Specification, "Build-Time Measurement Register: MRTD"). TDH.MEM.PAGE.ADD counts with the address of a page,
 * TDH.MR.EXTEND with an address and the 256 bytes there. KVM adds a page and extends it before the next page
 * (arch/x86/kvm/vmx/tdx.c, `tdx_gmem_post_populate`), section by section in the order of the metadata
 * (QEMU, target/i386/kvm/tdx.c, `tdx_finalize_vm`).
 */

const CHUNK_SIZE = 256;
/** Operation in the first 16 bytes, address in the next 8, zeros. */
const ENTRY_SIZE = 128;

/** @returns 48 bytes */
export function mrTd(sections: readonly TdxSection[]): Buffer {
  const hash = createHash("sha384");
  for (const section of sections) {
    for (let offset = 0; offset < section.size; offset += PAGE_SIZE) addPage(hash, section, offset);
  }
  return hash.digest();
}

function addPage(hash: Hash, { data, address, extend, augmented }: TdxSection, offset: number): void {
  if (!augmented) hash.update(entry("MEM.PAGE.ADD", address + BigInt(offset)));
  if (!extend) return;
  for (let at = offset; at < offset + PAGE_SIZE; at += CHUNK_SIZE) {
    hash.update(entry("MR.EXTEND", address + BigInt(at)));
    hash.update(data.subarray(at, at + CHUNK_SIZE));
  }
}

function entry(operation: string, address: bigint): Buffer {
  const bytes = Buffer.alloc(ENTRY_SIZE);
  bytes.write(operation, 0, "latin1");
  bytes.writeBigUInt64LE(address, 16);
  return bytes;
}
