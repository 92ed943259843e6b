import { createHash } from "node:crypto";
import { u16le, u64le } from "../../bytes/numbers.ts";
import { PAGE_SIZE } from "./firmware.ts";

/**
 * The launch digest of an SNP guest: a chain over its pages in the order in which they are loaded. Each step is the
 * SHA-384 of one PAGE_INFO (AMD publication 56860, SEV-SNP firmware ABI, SNP_LAUNCH_UPDATE, "Layout of the PAGE_INFO
 * Structure"), which begins with the digest of before.
 */

const DIGEST_SIZE = 48;
const PAGE_INFO_SIZE = 0x70;
const NO_CONTENTS = Buffer.alloc(DIGEST_SIZE);

/** PAGE_TYPE. */
const TYPES = { normal: 1, vmsa: 2, zero: 3, secrets: 5, cpuid: 6 } as const;

/** VMSA pages have no address of the guest's: the RMP has -1 for it, of which the bits of a page address are left. */
const VMSA_ADDRESS = 0xfffffffff000n;

export class LaunchDigest {
  #digest: Buffer = Buffer.alloc(DIGEST_SIZE);

  /** 48 bytes: MEASUREMENT of the guest's reports, once all pages have been added. */
  get value(): Buffer {
    return Buffer.from(this.#digest);
  }

  /** @param bytes whole pages */
  addPages(address: number, bytes: Buffer): void {
    for (let offset = 0; offset < bytes.length; offset += PAGE_SIZE) {
      const page = bytes.subarray(offset, offset + PAGE_SIZE);
      this.#extend(TYPES.normal, BigInt(address + offset), sha384(page));
    }
  }

  /** @param size bytes, whole pages */
  addZeroPages(address: number, size: number): void {
    for (let offset = 0; offset < size; offset += PAGE_SIZE) {
      this.#extend(TYPES.zero, BigInt(address + offset), NO_CONTENTS);
    }
  }

  /** The firmware of the CPU writes this page; what is in it is not measured. */
  addOwnPage(type: "secrets" | "cpuid", address: number): void {
    this.#extend(TYPES[type], BigInt(address), NO_CONTENTS);
  }

  /** @param page the state of a vCPU */
  addVmsa(page: Buffer): void {
    this.#extend(TYPES.vmsa, VMSA_ADDRESS, sha384(page));
  }

  #extend(type: number, address: bigint, contents: Buffer): void {
    const info = Buffer.concat([
      this.#digest,
      contents,
      u16le(PAGE_INFO_SIZE),
      // PAGE_TYPE, IMI_PAGE, and no permissions for VMPL3, VMPL2 and VMPL1; one byte is reserved.
      Buffer.of(type, 0, 0, 0, 0, 0),
      u64le(address),
    ]);
    this.#digest = sha384(info);
  }
}

function sha384(bytes: Buffer): Buffer {
  return createHash("sha384").update(bytes).digest();
}
