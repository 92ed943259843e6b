import type { Command } from "commander";
import type { Context } from "../context.ts";
import type { SetOptions } from "./set.ts";
import { collateralProxyOption, collect, coordinatorOrUrlOption, examples, manifestOption } from "../options.ts";

const SEED = `
If the manifest names other seed share owners or another threshold, they get new
shares of the same seed: whoever had enough of the old shares keeps the seed for
ever. \`contrast rekey\` makes a new seed.`;

/** @param exit is told the exit code of what is not done yet */
export function addSetCommand(program: Command, context: () => Context, exit: (code: number) => void): void {
  program
    .command("set")
    .description("put the manifest in force")
    .argument("<path...>", "the files that `generate` prepared")
    .addOption(coordinatorOrUrlOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option(
      "--workload-owner-key <file>",
      "sign as this owner, by default with workload-owner.pem of the workspace (repeatable)",
      collect,
    )
    .option(
      "-s, --signature <file>",
      "an owner's signature, made by `sign`; with the owner's key, which may then be the public one (repeatable)",
      collect,
    )
    .option("--atomic", "fail unless the history is still the one that the last `verify` saw")
    .option("--latest-transition <hex>", "fail unless this is still the latest transition; all zero: there is none")
    .option("--revoke", "trust no certificate of before any more, whatever MeshCAOverlap says")
    .addHelpText("after", SEED)
    .addHelpText(
      "after",
      examples(
        "contrast set -c coordinator.example.com:1313 deployment/",
        "contrast set -c coordinator.example.com --atomic deployment/",
        "contrast set -c https://coordinator.example.com -s transition.sig \\",
        "    --workload-owner-key owner-public.pem deployment/",
      ),
    )
    .action(async (paths: string[], options: SetOptions) => {
      const { set } = await import("./set.ts");
      exit(await set(context(), paths, options));
    });
}
