import { Refusal } from "../api/refusal.ts";
import { MalformedBytes } from "../bytes/cursor.ts";

/**
 * Says which record it is that can't be read.
 *
 * @param record its name, for people
 * @throws Refusal `damaged_state`; `unknown_state_version` where the field that is wrong is `version`
 */
export function parseRecord<T>(record: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    const { field, got, want } = error;
    if (field === "version") {
      throw new Refusal(
        "unknown_state_version",
        "a record of the history has a format that this version does not know",
        {
          where: record,
          got: `version ${got}`,
          want: `version ${want}`,
          hint: "run the version of the Coordinator that wrote it: what has no owners' signatures is not carried over",
        },
      );
    }
    throw new Refusal("damaged_state", "a record of the history is malformed", {
      where: `${record}, ${field}`,
      got,
      want,
    });
  }
}
