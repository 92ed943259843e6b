import type { Command } from "commander";
import type { Context } from "../context.ts";
import type { SetOptions } from "../set.ts";
import { coordinatorOption, examples, manifestOption } from "./options.ts";

export function addSetCommand(program: Command, context: () => Context): void {
  program
    .command("set")
    .description("make the manifest the active one")
    .argument("<path...>", "the files that `generate` was given")
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .option("--workload-owner-key <file>", "prove to be this owner (default: workload-owner.pem of the workspace)")
    .option("--signature <file>", "what `sign` made, by that owner; the key may then be the public one")
    .option("--atomic", "only if the history is still as the last `verify` saw it")
    .option("--latest-transition <hex>", "only if this is still the latest transition; all zero: none")
    .addHelpText(
      "after",
      examples(
        "contrast set -c coordinator.example.com:1313 deployment/",
        "contrast set -c coordinator.example.com --atomic deployment/",
        "contrast set -c 203.0.113.34:1313 --signature transition.sig \\",
        "    --workload-owner-key owner-public.pem deployment/",
      ),
    )
    .action(async (paths: string[], options: SetOptions) => {
      const { set } = await import("../set.ts");
      await set(context(), paths, options);
    });
}
