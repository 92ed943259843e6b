import { parseTdxFirmware } from "../../measurement/tdx/firmware.ts";
import { compareLog, type ComparedLog, type Computed } from "../../measurement/tdx/compare-log.ts";
import { parseEventLog } from "../../measurement/tdx/event-log.ts";
import { mrTd } from "../../measurement/tdx/mrtd.ts";
import { commandLineEvents, kernelEvents, replay, type RtmrEvent } from "../../measurement/tdx/rtmr.ts";
import { knownConfigurationEvents, leastMemory, NOT_FROM_FILES } from "../../measurement/tdx/td-hob.ts";
import { CliError, type Context, printResult } from "../context.ts";
import type { TdxMeasurements } from "../workspace/measurements-file.ts";
import { type InputOptions, readInputs, readLimited, warnOfBoot } from "./inputs.ts";

/** The options of `contrast measure tdx` as commander gives them. */
export interface TdxOptions extends InputOptions {
  /** MiB. */
  readonly memory?: number;
  readonly eventLog?: string;
}

/** What OVMF keeps for its log is a part of this. */
const MAX_LOG_SIZE = 16 * 1024 * 1024;

/** @throws CliError, MeasurementError */
export async function measureTdxGuest(context: Context, options: TdxOptions): Promise<void> {
  const { firmware, boot, digests } = await readInputs(options);
  const sections = parseTdxFirmware(firmware);
  const least = leastMemory(sections);
  if (options.memory !== undefined && options.memory < least) {
    const message = "the firmware does not fit into the guest's memory";
    throw new CliError("usage", message, { got: `--memory ${options.memory}`, want: `at least ${least} MiB` });
  }
  if (boot?.commandLine === "") {
    // OVMF then passes no options at all, and Linux measures what it likes.
    throw new CliError("usage", "RTMR2 follows from a command line", {
      got: "an empty --cmdline",
      want: "one with text",
    });
  }
  const known = knownConfigurationEvents(sections, options.memory);
  const events = boot && { kernel: kernelEvents(boot), commandLine: commandLineEvents(boot) };
  const logged = await readLog(options, events && { ...events, configuration: known });
  warnOfBoot(context, boot);
  const file: TdxMeasurements = {
    tee: "tdx",
    inputs: digests,
    mrTd: mrTd(sections).toString("hex"),
    ...(events && {
      rtmrs: {
        ...(logged && { 0: logged.rtmr0.toString("hex") }),
        1: replay(events.kernel).toString("hex"),
        2: replay(events.commandLine).toString("hex"),
        3: replay([]).toString("hex"),
      },
    }),
    rtmr0: {
      known: known.map(plain),
      ...(logged && { believed: logged.believed.map(plain) }),
      unknown: [
        ...(options.memory === undefined ? ["the list of memory (TD HOB): give --memory"] : []),
        ...NOT_FROM_FILES,
      ],
    },
  };
  if (context.format === "json") {
    context.out(`${JSON.stringify(file, undefined, 2)}\n`);
    return;
  }
  const lines = (list: readonly { what: string; digest: string }[] | undefined): readonly string[] | undefined =>
    list?.map(({ what, digest }) => `${digest} ${what}`);
  printResult(context, false, {
    MRTD: file.mrTd,
    RTMR0: file.rtmrs?.[0],
    RTMR1: file.rtmrs?.[1],
    RTMR2: file.rtmrs?.[2],
    RTMR3: file.rtmrs?.[3],
    "RTMR0, events that follow from these files": lines(file.rtmr0.known),
    "RTMR0, events that are believed because of the log": lines(file.rtmr0.believed),
    "RTMR0, what does not": file.rtmr0.unknown,
  });
}

function plain({ what, digest }: RtmrEvent): { what: string; digest: string } {
  return { what, digest: digest.toString("hex") };
}

/** @throws CliError usage, unreadable_file; MeasurementError malformed_event_log, event_log_mismatch */
async function readLog(
  { eventLog, memory }: TdxOptions,
  computed: Computed | undefined,
): Promise<ComparedLog | undefined> {
  if (eventLog === undefined) return undefined;
  if (computed === undefined || memory === undefined) {
    throw new CliError("usage", "the log is compared with all that follows from files", {
      got: `--event-log without ${computed === undefined ? "--kernel" : "--memory"}`,
      want: "--kernel, --cmdline and --memory of the guest, too",
    });
  }
  return compareLog(parseEventLog(await readLimited(eventLog, "the event log", MAX_LOG_SIZE)), computed);
}
