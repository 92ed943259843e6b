import { MeasurementError } from "../error.ts";
import type { LoggedEvent } from "./event-log.ts";
import { replay, type RtmrEvent } from "./rtmr.ts";

/** What a log is compared with: what follows from files. */
export interface Computed {
  /** Of RTMR0, in whatever order. */
  readonly configuration: readonly RtmrEvent[];
  readonly kernel: readonly RtmrEvent[];
  readonly commandLine: readonly RtmrEvent[];
}

export interface ComparedLog {
  /** 48 bytes. */
  readonly rtmr0: Buffer;
  /** The events of RTMR0 that are believed because the guest is trusted. */
  readonly believed: readonly LoggedEvent[];
}

/**
 * RTMR0 of a guest that the user trusts. The log has to agree with everything that follows from files, so that what is
 * believed is no more than the rest.
 *
 * @throws MeasurementError event_log_mismatch
 */
export function compareLog(log: readonly LoggedEvent[], computed: Computed): ComparedLog {
  requireSame(log, 1, computed.kernel);
  requireSame(log, 2, computed.commandLine);
  const own = log.filter(({ rtmr }) => rtmr === 0);
  for (const { what, digest } of computed.configuration) {
    if (own.some((event) => event.digest.equals(digest))) continue;
    throw mismatch("RTMR0", "no such event", `${digest.toString("hex")}, ${what}`);
  }
  const believed = own.filter(({ digest }) => !computed.configuration.some((event) => event.digest.equals(digest)));
  return { rtmr0: replay(own), believed };
}

function requireSame(log: readonly LoggedEvent[], rtmr: number, computed: readonly RtmrEvent[]): void {
  const own = log.filter((event) => event.rtmr === rtmr);
  for (let index = 0; index < Math.max(own.length, computed.length); index++) {
    const [got, want] = [own[index], computed[index]];
    if (got !== undefined && want !== undefined && got.digest.equals(want.digest)) continue;
    const shown = (event: RtmrEvent | undefined): string =>
      event === undefined ? "no event" : `${event.digest.toString("hex")}, ${event.what}`;
    throw mismatch(`RTMR${rtmr}, event ${index + 1}`, shown(got), shown(want));
  }
}

function mismatch(where: string, got: string, want: string): MeasurementError {
  return new MeasurementError("event_log_mismatch", "the guest of the log was not started with these files", {
    where,
    got,
    want,
    hint: "give the files, the command line and the memory of this guest; QEMU has to be 10.2 or later",
  });
}
