import { PAGE_SIZE } from "./firmware.ts";

/**
 * The state that a vCPU begins with, one page (AMD64 Architecture Programmer's Manual, volume 2, table B-4), as QEMU and
 * KVM make it: that of a CPU after reset, in real mode.
 */

/** Where the first vCPU begins. */
export const RESET_VECTOR = 0xfffffff0;

export interface VcpuState {
  /** The vCPU's signature: CPUID Fn0000_0001_EAX. A CPU has it in RDX after reset. */
  readonly signature: number;
  /** SEV_FEATURES; bit 0 stands for SEV-SNP. */
  readonly features: bigint;
  /** The address of the first instruction. */
  readonly start: number;
}

/** A segment register: selector, attributes, limit, base. */
type Segment = readonly [offset: number, selector: number, attributes: number, base: number];

export function vmsaPage({ signature, features, start }: VcpuState): Buffer {
  const page = Buffer.alloc(PAGE_SIZE);
  const codeBase = (start & 0xffff0000) >>> 0;
  const segments: readonly Segment[] = [
    [0x00, 0, 0x93, 0], // ES
    [0x10, 0xf000, 0x9b, codeBase], // CS
    [0x20, 0, 0x93, 0], // SS
    [0x30, 0, 0x93, 0], // DS
    [0x40, 0, 0x93, 0], // FS
    [0x50, 0, 0x93, 0], // GS
    [0x60, 0, 0, 0], // GDTR
    [0x70, 0, 0x82, 0], // LDTR
    [0x80, 0, 0, 0], // IDTR
    [0x90, 0, 0x8b, 0], // TR
  ];
  for (const [offset, selector, attributes, base] of segments) {
    page.writeUInt16LE(selector, offset);
    page.writeUInt16LE(attributes, offset + 2);
    page.writeUInt32LE(0xffff, offset + 4);
    page.writeBigUInt64LE(BigInt(base), offset + 8);
  }
  const registers: readonly (readonly [offset: number, value: bigint])[] = [
    [0xd0, 0x1000n], // EFER: KVM sets SVME
    [0x148, 0x40n], // CR4: KVM sets MCE
    [0x158, 0x10n], // CR0
    [0x160, 0x400n], // DR7
    [0x168, 0xffff0ff0n], // DR6
    [0x170, 0x2n], // RFLAGS
    [0x178, BigInt(start & 0xffff)], // RIP
    [0x268, 0x0007040600070406n], // G_PAT
    [0x310, BigInt(signature)], // RDX
    [0x3b0, features], // SEV_FEATURES
    [0x3e8, 1n], // XCR0
  ];
  for (const [offset, value] of registers) page.writeBigUInt64LE(value, offset);
  page.writeUInt32LE(0x1f80, 0x408); // MXCSR
  page.writeUInt16LE(0x37f, 0x410); // X87_FCW
  return page;
}
