import type { Command } from "commander";
import type { Context } from "../context.ts";
import { collateralProxyOption, collect, coordinatorOption, examples, manifestOption } from "../options.ts";
import type { RekeyOptions } from "./rekey.ts";

export function addRekeyCommand(program: Command, context: () => Context): void {
  program
    .command("rekey")
    .description("make a new seed, root CA and workload secrets, and put the manifest in force with them")
    .argument("[path...]", "the files that `generate` prepared; none with --prepare")
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option(
      "--workload-owner-key <file>",
      "sign as this owner, by default with workload-owner.pem of the workspace; with --prepare any owner's key (repeatable)",
      collect,
    )
    .option("--prepare", "only have the new seed made, and write what is to be signed to rekey.json of the workspace")
    .option(
      "--signature <file>",
      "an owner's signature, made by `sign --rekey`; with the owner's key, which may then be the public one (repeatable)",
      collect,
    )
    .option("--atomic", "fail unless the history is still the one that the last `verify` saw")
    .addHelpText(
      "after",
      examples(
        "contrast rekey -c coordinator.example.com:1313 deployment/",
        "contrast rekey -c 203.0.113.34:1313 --prepare    # then: contrast sign --rekey",
        "contrast rekey -c 203.0.113.34:1313 --signature transition.sig \\",
        "    --workload-owner-key owner-public.pem deployment/",
      ),
    )
    .action(async (paths: string[], options: RekeyOptions) => {
      const { rekey } = await import("./rekey.ts");
      await rekey(context(), paths, options);
    });
}
