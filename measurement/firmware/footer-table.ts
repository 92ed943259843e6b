import { Cursor } from "../../bytes/cursor.ts";
import { malformedFirmware, readingFirmware } from "../error.ts";
import { guidBytes } from "./guid.ts";

/**
 * The table of GUIDs at the end of OVMF (edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm). It ends 32 bytes before the
 * end of the file and is read backwards: each entry is its data, its whole length (16 bits) and its GUID, and the last
 * entry is the table's own, whose length is that of all of them.
 */

const TABLE_GUID = guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d");
const AFTER_TABLE = 32;
/** Length and GUID. */
const ENTRY_END = 18;

const PAGE = 4096;
/** The largest builds have 16 MiB. */
export const MAX_FIRMWARE_SIZE = 64 * 1024 * 1024;

/** The data of the entries, by their GUIDs in hexadecimal. */
export type FooterTable = ReadonlyMap<string, Buffer>;

/**
 * @returns empty where the file has no such table
 * @throws MeasurementError malformed_firmware
 */
export function readFooterTable(firmware: Buffer): FooterTable {
  requireFirmwareSize(firmware);
  const end = firmware.length - AFTER_TABLE;
  if (!firmware.subarray(end - 16, end).equals(TABLE_GUID)) return new Map();
  const whole = firmware.readUInt16LE(end - ENTRY_END);
  const start = end - whole;
  if (whole < ENTRY_END || start < 0) {
    throw malformedFirmware("the table's length", `${whole}`, `${ENTRY_END} to ${end}`);
  }
  const table = new Map<string, Buffer>();
  for (let at = end - ENTRY_END; at > start;) {
    const where = `the entry of the table that ends at 0x${at.toString(16)}`;
    const left = at - start;
    const length = left < ENTRY_END ? 0 : firmware.readUInt16LE(at - ENTRY_END);
    if (length < ENTRY_END || length > left) {
      throw malformedFirmware(where, `${length} of ${left} bytes`, `at least ${ENTRY_END}, and no more than are left`);
    }
    const guid = firmware.toString("hex", at - 16, at);
    // Two readers could take one each.
    if (table.has(guid)) throw malformedFirmware(where, `the GUID ${guid} again`, "each GUID once");
    table.set(guid, firmware.subarray(at - length, at - ENTRY_END));
    at -= length;
  }
  return table;
}

/** @throws MeasurementError malformed_firmware */
function requireFirmwareSize({ length }: Buffer): void {
  if (length >= PAGE && length % PAGE === 0 && length <= MAX_FIRMWARE_SIZE) return;
  throw malformedFirmware("its size", `${length} bytes`, `whole pages of ${PAGE} bytes, up to ${MAX_FIRMWARE_SIZE}`);
}

/**
 * An entry that holds one number.
 *
 * @param guid as text
 * @param field its name, for the error
 * @returns undefined where there is no such entry
 * @throws MeasurementError malformed_firmware
 */
export function numberIn(table: FooterTable, guid: string, field: string): number | undefined {
  const data = table.get(guidBytes(guid).toString("hex"));
  return data && readingFirmware(() => new Cursor(data.subarray(0, 4)).u32le(field));
}
