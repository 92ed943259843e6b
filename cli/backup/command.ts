import type { Command } from "commander";
import type { Context } from "../context.ts";
import { examples } from "../options.ts";
import { historyPlaceOptions } from "../workspace/history-place.ts";
import type { BackupOptions } from "./backup.ts";

export function addBackupCommand(program: Command, context: () => Context): void {
  const command = program
    .command("backup")
    .description("write a Coordinator's history into one file, and check it on the way");
  for (const option of historyPlaceOptions()) command.addOption(option);
  command
    .requiredOption("-o, --output-file <file>", "where it goes")
    .addHelpText(
      "after",
      examples(
        "contrast backup --namespace contrast -o history.backup",
        "contrast backup --state-dir state -o history.backup",
      ),
    )
    .action(async (options: BackupOptions) => {
      const { backup } = await import("./backup.ts");
      await backup(context(), options);
    });
}
