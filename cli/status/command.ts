import { type Command, Option } from "commander";
import type { Context } from "../context.ts";
import { collateralProxyOption, coordinatorOrUrlOption, examples } from "../options.ts";
import type { StatusOptions } from "./status.ts";

/** @param exit is told the exit code of a Coordinator that does not serve */
export function addStatusCommand(program: Command, context: () => Context, exit: (code: number) => void): void {
  program
    .command("status")
    .description("show how the Coordinator is, and what is missing; proves nothing without a manifest")
    .addOption(coordinatorOrUrlOption())
    .addOption(new Option("-m, --manifest <file>", "verify the Coordinator against this manifest (default: nothing)"))
    .addOption(collateralProxyOption())
    .option("--workload-owner-key <file>", "ask as this owner (default: workload-owner.pem of the workspace)")
    .option("--seedshare-owner-key <file>", "ask as this owner (default: seedshare-owner.pem of the workspace)")
    .addHelpText(
      "after",
      examples(
        "contrast status -c coordinator.example.com",
        "contrast --output json status -c 203.0.113.34 -m manifest.json",
      ),
    )
    .action(async (options: StatusOptions) => {
      const { status } = await import("./status.ts");
      exit(await status(context(), options));
    });
}
