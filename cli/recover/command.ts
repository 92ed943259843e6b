import type { Command } from "commander";
import type { Context } from "../context.ts";
import type { RecoverOptions } from "./recover.ts";
import { collateralProxyOption, coordinatorOption, examples, manifestOption } from "../options.ts";

export function addRecoverCommand(program: Command, context: () => Context): void {
  program
    .command("recover")
    .description("restore the secrets of a restarted Coordinator, if it serves the pinned deployment")
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option("--seedshare-owner-key <file>", "the owner's private key (default: seedshare-owner.pem of the workspace)")
    .option(
      "--force",
      "also if the Coordinator is active: read the stored state again, which must continue the state in force",
    )
    .addHelpText(
      "after",
      examples(
        "contrast recover -c coordinator.example.com:1313",
        "contrast recover -c [2001:db8::1]:1313 --seedshare-owner-key alice.pem",
      ),
    )
    .action(async (options: RecoverOptions) => {
      const { recover } = await import("./recover.ts");
      await recover(context(), options);
    });
}
