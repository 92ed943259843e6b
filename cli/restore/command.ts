import type { Command } from "commander";
import type { Context } from "../context.ts";
import { examples } from "../options.ts";
import { historyPlaceOptions } from "../workspace/history-place.ts";
import type { RestoreOptions } from "./restore.ts";

export function addRestoreCommand(program: Command, context: () => Context): void {
  const command = program
    .command("restore")
    .description("put a history that `backup` has written where a Coordinator finds it")
    .argument("<file>", "the backup");
  for (const option of historyPlaceOptions()) command.addOption(option);
  command
    .option("--replace", "also over a history that is newer, or another one")
    .addHelpText(
      "after",
      examples(
        "contrast restore history.backup --namespace contrast",
        "contrast restore history.backup --state-dir state",
      ),
    )
    .action(async (file: string, options: RestoreOptions) => {
      const { restore } = await import("./restore.ts");
      await restore(context(), file, options);
    });
}
