import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { toLatin1 } from "../../bytes/encode.ts";
import { MeasurementError } from "../error.ts";
import type { RtmrEvent } from "./rtmr.ts";

/**
 * The log of a guest's firmware and kernel about what they extended the RTMRs with (CCEL; TCG PC Client Platform Firmware
 * Profile, "Event Logging", the crypto agile form; Linux has it as /sys/firmware/acpi/tables/data/CCEL). Nothing in it is
 * signed. It is good for what it leads to: the values that a quote reports.
 */

export interface LoggedEvent extends RtmrEvent {
  /** 0 to 3. */
  readonly rtmr: number;
  /** EV_…, as a number. */
  readonly type: number;
}

const SHA384 = 0x000c;
/** Sizes of digests by their algorithm (TCG Algorithm Registry). */
const DIGEST_SIZES: ReadonlyMap<number, number> = new Map([
  [0x0004, 20],
  [0x000b, 32],
  [SHA384, 48],
  [0x000d, 64],
  [0x0012, 32],
]);
const NO_ACTION = 3;
/** What is not written yet. */
const UNUSED = new Set([0, 0xffff_ffff]);
const MAX_EVENTS = 10_000;

/** @throws MeasurementError malformed_event_log */
export function parseEventLog(bytes: Buffer): readonly LoggedEvent[] {
  try {
    return readEvents(new Cursor(bytes));
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    throw new MeasurementError("malformed_event_log", "the file is no event log of a guest of TDX", {
      where: `${error.field} at offset 0x${error.offset.toString(16)}`,
      got: error.got,
      want: error.want,
      hint: "take /sys/firmware/acpi/tables/data/CCEL of the guest, as it is",
    });
  }
}

/** @throws MalformedBytes */
function readEvents(log: Cursor): readonly LoggedEvent[] {
  readHeader(log);
  const events: LoggedEvent[] = [];
  while (log.next !== undefined) {
    const start = log.offset;
    const index = log.u32le("the register of an event");
    const type = log.u32le("the type of an event");
    // Behind the last event there are zeros, or ones.
    if (UNUSED.has(type)) break;
    // MrIndex 1 to 4 are RTMR0 to RTMR3 (UEFI 2.10, section 38.4.1); 0 is MRTD, which nobody extends any more.
    if (index > 4) throw new MalformedBytes("the register of an event", start, `${index}`, "0 to 4");
    const digest = readDigests(log);
    const data = log.bytes(log.u32le("the size of an event"), "an event");
    if (type === NO_ACTION || index === 0) continue;
    events.push({ rtmr: index - 1, type, digest, what: nameOf(type, data) });
    if (events.length > MAX_EVENTS) throw new MalformedBytes("the log", start, "more events", `at most ${MAX_EVENTS}`);
  }
  if (events.length === 0) throw new MalformedBytes("the log", log.offset, "no event", "events");
  return events;
}

/** The first event has the form of TPM 1.2, and says which algorithms the others have. */
function readHeader(log: Cursor): void {
  log.u32le("the register of the header");
  const type = log.u32le("the type of the header");
  if (type !== NO_ACTION) throw new MalformedBytes("the type of the header", 4, `${type}`, `${NO_ACTION}`);
  log.zeros(20, "the digest of the header");
  const data = log.bytes(log.u32le("the size of the header"), "the header");
  const signature = toLatin1(data.subarray(0, 15));
  if (signature === "Spec ID Event03") return;
  throw new MalformedBytes("the header", 32, JSON.stringify(signature), '"Spec ID Event03"');
}

function readDigests(log: Cursor): Buffer {
  let digest: Buffer | undefined;
  const start = log.offset;
  const count = log.u32le("the number of digests");
  for (let left = count; left > 0; left--) {
    const algorithm = log.u16le("the algorithm of a digest");
    const size = DIGEST_SIZES.get(algorithm);
    if (size === undefined) {
      throw new MalformedBytes("the algorithm of a digest", log.offset - 2, `${algorithm}`, "a known one");
    }
    const value = log.bytes(size, "a digest");
    if (algorithm === SHA384) digest ??= Buffer.from(value);
  }
  if (digest === undefined) throw new MalformedBytes("the digests", start, "none of SHA-384", "one");
  return digest;
}

const TYPES: ReadonlyMap<number, string> = new Map([
  [0x4, "EV_SEPARATOR"],
  [0x6, "EV_EVENT_TAG"],
  [0xa, "EV_PLATFORM_CONFIG_FLAGS"],
  [0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"],
  [0x8000_0002, "EV_EFI_VARIABLE_BOOT"],
  [0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"],
  [0x8000_0007, "EV_EFI_ACTION"],
  [0x8000_0009, "EV_EFI_HANDOFF_TABLES"],
  [0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"],
  [0x8000_000b, "EV_EFI_HANDOFF_TABLES2"],
]);

/** For people: the type, and what of the data is text. */
function nameOf(type: number, data: Uint8Array): string {
  const name = TYPES.get(type) ?? `event 0x${type.toString(16)}`;
  const text = toLatin1(data.subarray(0, 160)).replaceAll("\0", "");
  const [words = ""] = /[A-Za-z][A-Za-z0-9 :/_-]{3,60}/.exec(text) ?? [];
  return words === "" ? name : `${name}, ${words.trim()}`;
}
