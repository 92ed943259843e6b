import { PAGE_SIZE, type TdxSection } from "./firmware.ts";
import { type RtmrEvent, sha384 } from "./rtmr.ts";

/**
 * What of RTMR0 follows from files. OVMF measures the list of memory that QEMU hands it (TD HOB; QEMU, hw/i386/tdvf-hob.c)
 * and its own variables (CFV); then what QEMU makes for each guest, which no file has.
 */

/** What no file has. */
export const NOT_FROM_FILES = [
  "the ACPI tables and their loader, which QEMU makes for the guest's vCPUs, memory and devices",
  "QEMU's boot menu and boot order (edk2-stable202505 and later)",
  "the SMBIOS tables (edk2-stable202505 and later)",
  "the boot variables, which the firmware makes",
] as const;

/** @param memory of the guest, MiB; undefined: the list of memory does not follow */
export function knownConfigurationEvents(
  sections: readonly TdxSection[],
  memory: number | undefined,
): readonly RtmrEvent[] {
  const hob = sections.find(({ kind }) => kind === "TD_HOB");
  const variables = sections.find(({ kind }) => kind === "CFV");
  return [
    ...(memory === undefined || hob === undefined
      ? []
      : [{ what: `the list of memory (TD HOB) for ${memory} MiB`, digest: sha384(tdHob(sections, hob, memory)) }]),
    ...(variables === undefined ? [] : [{ what: "the firmware's variables (CFV)", digest: sha384(variables.data) }]),
  ];
}

const MIB = 1024n * 1024n;
const FOUR_GIB = 1n << 32n;
/** QEMU's q35 keeps 2 GiB below 4 GiB where a guest has 2.75 GiB or more, and all where it has less (hw/i386/pc_q35.c). */
const LOW_MEMORY_LIMIT = 0xb0000000n;
const LOW_MEMORY = 0x80000000n;

const PHIT_SIZE = 56;
const END_SIZE = 8;
/** EFI_RESOURCE_SYSTEM_MEMORY and EFI_RESOURCE_MEMORY_UNACCEPTED. */
const ACCEPTED = 0;
const UNACCEPTED = 7;
/** Present, initialized and tested. */
const ATTRIBUTES = 7;

/** The list of hand-off blocks (UEFI Platform Initialization 1.8, volume 3), without its end mark, which is not measured. */
function tdHob(sections: readonly TdxSection[], { address }: TdxSection, memory: number): Buffer {
  const resources = resourcesOf(sections, BigInt(memory) * MIB);
  const end = address + BigInt(PHIT_SIZE + resources.length + END_SIZE);
  const first = Buffer.alloc(PHIT_SIZE);
  first.writeUInt16LE(1, 0); // EFI_HOB_TYPE_HANDOFF
  first.writeUInt16LE(PHIT_SIZE, 2);
  first.writeUInt32LE(9, 8); // Version
  first.writeBigUInt64LE(end, 48); // EfiEndOfHobList
  return Buffer.concat([first, resources]);
}

/** The memory by address: what the firmware was loaded into is accepted, the rest is not yet. */
function resourcesOf(sections: readonly TdxSection[], memory: bigint): Buffer {
  const accepted = sections
    .filter(({ kind }) => kind === "TD_HOB" || kind === "TempMem")
    .toSorted((a, b) => (a.address < b.address ? -1 : 1));
  const ranges: readonly (readonly [start: bigint, end: bigint])[] =
    memory < LOW_MEMORY_LIMIT
      ? [[0n, memory]]
      : [
          [0n, LOW_MEMORY],
          [FOUR_GIB, FOUR_GIB + memory - LOW_MEMORY],
        ];
  const resources: Buffer[] = [];
  for (const [start, end] of ranges) {
    let at = start;
    for (const { address, size } of accepted) {
      if (address < at || address >= end) continue;
      if (address > at) resources.push(resource(UNACCEPTED, at, address - at));
      resources.push(resource(ACCEPTED, address, BigInt(size)));
      at = address + BigInt(size);
    }
    if (at < end) resources.push(resource(UNACCEPTED, at, end - at));
  }
  return Buffer.concat(resources);
}

function resource(type: number, start: bigint, length: bigint): Buffer {
  const bytes = Buffer.alloc(48);
  bytes.writeUInt16LE(3, 0); // EFI_HOB_TYPE_RESOURCE_DESCRIPTOR
  bytes.writeUInt16LE(bytes.length, 2);
  bytes.writeUInt32LE(type, 24);
  bytes.writeUInt32LE(ATTRIBUTES, 28);
  bytes.writeBigUInt64LE(start, 32);
  bytes.writeBigUInt64LE(length, 40);
  return bytes;
}

/** The least memory that a guest of this firmware can have, MiB. */
export function leastMemory(sections: readonly TdxSection[]): number {
  const ends = sections
    .filter(({ kind }) => kind !== "BFV" && kind !== "CFV")
    .map(({ address, size }) => Number(address) + size);
  return Math.ceil(Math.max(PAGE_SIZE, ...ends) / Number(MIB));
}
