import { littleEndian64, u64le } from "../../bytes/numbers.ts";
import { EvidenceError } from "../error.ts";
import type { SnpProduct } from "./product.ts";

/**
 * TCB_VERSION (AMD publication 56860 §2.2): the security versions of the platform's firmware, one byte each. Where the
 * bytes are depends on the product, not on the version of the report.
 */
export interface Tcb {
  /** Zero on products that have none. */
  readonly fmc: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

export type TcbPart = keyof Tcb;
export const TCB_PARTS = ["fmc", "bootloader", "tee", "snp", "microcode"] as const satisfies readonly TcbPart[];

/** The part in each byte, lowest first; undefined is reserved. */
type Layout = readonly (TcbPart | undefined)[];
const FAMILY_19: Layout = ["bootloader", "tee", undefined, undefined, undefined, undefined, "snp", "microcode"];
const FAMILY_1A: Layout = ["fmc", "bootloader", "tee", "snp", undefined, undefined, undefined, "microcode"];
const LAYOUTS: Readonly<Record<SnpProduct, Layout>> = { Milan: FAMILY_19, Genoa: FAMILY_19, Turin: FAMILY_1A };

/**
 * @param field the name of the field in the report, for the error
 * @throws EvidenceError malformed_report where a reserved byte is not zero: a part that nobody compares
 */
export function parseTcb(value: bigint, product: SnpProduct, field: string): Tcb {
  const tcb = { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 };
  const bytes = u64le(value);
  for (const [index, part] of LAYOUTS[product].entries()) {
    const byte = bytes[index] ?? NaN;
    if (part !== undefined) tcb[part] = byte;
    else if (byte !== 0) {
      throw new EvidenceError("malformed_report", "a reserved part of a TCB is not zero", {
        where: `${field}, byte ${index}`,
        got: `${byte}`,
        want: "0",
      });
    }
  }
  return tcb;
}

/** The inverse of `parseTcb`. Parts that the product does not have are left out. */
export function encodeTcb(tcb: Tcb, product: SnpProduct): bigint {
  const bytes = Uint8Array.from(LAYOUTS[product].map((part) => (part === undefined ? 0 : tcb[part])));
  return littleEndian64(bytes);
}

/** The first part in which `tcb` is lower than `minimum`; undefined where there is none. */
export function partBelow(tcb: Tcb, minimum: Tcb): TcbPart | undefined {
  return TCB_PARTS.find((part) => tcb[part] < minimum[part]);
}

/** For people: `bootloader 4, tee 0, snp 24, microcode 219`. */
export function describeTcb(tcb: Tcb): string {
  const shown = TCB_PARTS.filter((part) => part !== "fmc" || tcb.fmc !== 0);
  return shown.map((part) => `${part} ${tcb[part]}`).join(", ");
}
