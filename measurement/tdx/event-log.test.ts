import fc from "fast-check";
import { expect, test } from "vitest";
import { MeasurementError } from "../error.ts";
import { INTEL_TDX, makeFirmware, makeKernel } from "../test-firmware.ts";
import { compareLog, type Computed } from "./compare-log.ts";
import { parseEventLog } from "./event-log.ts";
import { parseTdxFirmware } from "./firmware.ts";
import { commandLineEvents, kernelEvents, replay, sha384 } from "./rtmr.ts";
import { knownConfigurationEvents } from "./td-hob.ts";
import { type EventSpec, makeEventLog } from "./test-event-log.ts";

const BOOT = { kernel: makeKernel(), initrd: Buffer.from("initrd"), commandLine: "panic=1" };
const COMPUTED: Computed = {
  configuration: knownConfigurationEvents(parseTdxFirmware(makeFirmware({ tdx: INTEL_TDX })), 2048),
  kernel: kernelEvents(BOOT),
  commandLine: commandLineEvents(BOOT),
};
const ACPI: EventSpec = { index: 1, type: 0xa, digest: sha384(Buffer.from("tables")), data: Buffer.from("ACPI DATA") };

function logOf({ configuration, kernel, commandLine }: Computed, more: readonly EventSpec[] = [ACPI]): EventSpec[] {
  const events = (index: number, type: number, list: Computed["kernel"]): EventSpec[] =>
    list.map(({ digest }) => ({ index, type, digest }));
  return [
    ...events(1, 0x8000_000b, configuration),
    ...more,
    ...events(2, 0x8000_0007, kernel),
    ...events(3, 6, commandLine),
  ];
}

function code(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof MeasurementError) return error.code;
    throw error;
  }
  return undefined;
}

const compare = (events: readonly EventSpec[]) => compareLog(parseEventLog(makeEventLog(events)), COMPUTED);

test("a log that agrees with the files gives RTMR0, and says what is believed", () => {
  const { rtmr0, believed } = compare(logOf(COMPUTED));
  expect(believed.map(({ what }) => what)).toEqual(["EV_PLATFORM_CONFIG_FLAGS, ACPI DATA"]);
  expect(rtmr0).toEqual(replay([...COMPUTED.configuration, { what: "", digest: ACPI.digest }]));
});

test("a log of another kernel, command line, initrd, firmware or size of memory is refused", () => {
  const sections = parseTdxFirmware(makeFirmware({ tdx: INTEL_TDX }));
  const others: Computed[] = [
    { ...COMPUTED, kernel: kernelEvents({ ...BOOT, kernel: makeKernel({ fill: 1 }) }) },
    { ...COMPUTED, kernel: COMPUTED.kernel.slice(1) },
    { ...COMPUTED, commandLine: commandLineEvents({ ...BOOT, commandLine: "panic=1 agent.debug_console" }) },
    { ...COMPUTED, commandLine: commandLineEvents({ ...BOOT, initrd: undefined }) },
    { ...COMPUTED, configuration: knownConfigurationEvents(sections, 4096) },
  ];
  for (const other of others) expect(code(() => compare(logOf(other)))).toBe("event_log_mismatch");
  const more: EventSpec = { index: 3, type: 6, digest: ACPI.digest };
  expect(code(() => compare([...logOf(COMPUTED), more]))).toBe("event_log_mismatch");
});

test("what stands behind the last event is no event", () => {
  for (const rest of [Buffer.alloc(0), Buffer.alloc(100), Buffer.alloc(100, 0xff)]) {
    expect(parseEventLog(makeEventLog([ACPI], rest))).toHaveLength(1);
  }
});

test.each<[string, Buffer]>([
  ["nothing", Buffer.alloc(0)],
  ["zeros", Buffer.alloc(4096)],
  ["a header alone", makeEventLog([])],
  ["an event that is cut", makeEventLog([ACPI], Buffer.alloc(0)).subarray(0, -1)],
  ["a register that a TD has not", makeEventLog([{ ...ACPI, index: 5 }])],
])("%s is no event log", (_, bytes) => {
  expect(code(() => parseEventLog(bytes))).toBe("malformed_event_log");
});

test("whatever is cut or changed is read or refused, and nothing else happens", () => {
  const log = makeEventLog(logOf(COMPUTED));
  fc.assert(
    fc.property(fc.nat(log.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(log.length), (at, flip, end) => {
      const damaged = Buffer.from(log);
      damaged.writeUInt8(damaged.readUInt8(at) ^ flip, at);
      expect(["malformed_event_log", undefined]).toContain(code(() => parseEventLog(damaged)));
      expect(["malformed_event_log", undefined]).toContain(code(() => parseEventLog(log.subarray(0, end))));
    }),
  );
});
