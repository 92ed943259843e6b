import { rm } from "node:fs/promises";
import { RemoteError } from "../../channel/error.ts";
import { EXIT } from "../../runtime/exit.ts";
import { logFailure } from "../../runtime/failure.ts";
import { runProgram } from "../../runtime/program.ts";
import { duration, path } from "../../runtime/variables.ts";
import { runVolume, volumeVariables } from "./command.ts";

/** For tests: `initializer volume` with a file in place of the Coordinator. Whoever removes it has the leave to format. */
await runProgram(
  {
    name: "volume",
    summary: "opens an encrypted volume",
    variables: {
      ...volumeVariables,
      CONTRAST_TLS_CONFIG_DIR: path("/tls-config", "the folder with the workload secret"),
      CONTRAST_TIMEOUT: duration(undefined, "give up after this time"),
    },
    async run(running) {
      const useFormatGrant = (): Promise<void> =>
        rm("/run/grant").catch((cause: unknown) => {
          throw new RemoteError("no_format_grant", "no owner allows it", false, { cause });
        });
      try {
        return await runVolume(running, { useFormatGrant, random: Math.random });
      } catch (error) {
        logFailure(running.log, error);
        return EXIT.refused;
      }
    },
  },
  process,
);
