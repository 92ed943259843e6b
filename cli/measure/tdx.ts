import { parseTdxFirmware } from "../../measurement/tdx/firmware.ts";
import { mrTd } from "../../measurement/tdx/mrtd.ts";
import { commandLineEvents, kernelEvents, replay } from "../../measurement/tdx/rtmr.ts";
import { knownConfigurationEvents, leastMemory, NOT_FROM_FILES } from "../../measurement/tdx/td-hob.ts";
import { CliError, type Context, printResult } from "../context.ts";
import type { TdxMeasurements } from "../workspace/measurements-file.ts";
import { type InputOptions, readInputs, warnOfCommandLine } from "./inputs.ts";

/** The options of `contrast measure tdx` as commander gives them. */
export interface TdxOptions extends InputOptions {
  /** MiB. */
  readonly memory?: number;
}

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
  warnOfCommandLine(context, boot);
  const file: TdxMeasurements = {
    tee: "tdx",
    inputs: digests,
    mrTd: mrTd(sections).toString("hex"),
    ...(boot && {
      rtmrs: {
        1: replay(kernelEvents(boot)).toString("hex"),
        2: replay(commandLineEvents(boot)).toString("hex"),
        3: replay([]).toString("hex"),
      },
    }),
    rtmr0: {
      known: known.map(({ what, digest }) => ({ what, digest: digest.toString("hex") })),
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
  printResult(context, false, {
    MRTD: file.mrTd,
    RTMR1: file.rtmrs?.[1],
    RTMR2: file.rtmrs?.[2],
    RTMR3: file.rtmrs?.[3],
    "RTMR0, events that follow from these files": file.rtmr0.known.map(({ what, digest }) => `${digest} ${what}`),
    "RTMR0, what does not": file.rtmr0.unknown,
  });
}
