import type { Command } from "commander";
import type { Context } from "../context.ts";
import type { VerifyOptions } from "./verify.ts";
import { collateralProxyOption, collect, coordinatorOption, examples, manifestOption } from "../options.ts";

export function addVerifyCommand(program: Command, context: () => Context): void {
  program
    .command("verify")
    .description(
      "verify the Coordinator against the manifest and the pin, and save its history and certificates below verify/",
    )
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option(
      "--former-seedshare-owner <hex>",
      "accept that the owner of this key, of an earlier manifest, may know the seed (repeatable)",
      collect,
    )
    .addHelpText(
      "after",
      examples(
        "contrast verify -c coordinator.example.com:1313",
        "contrast verify -c 203.0.113.34 -m manifest.json --output json",
      ),
    )
    .action(async (options: VerifyOptions) => {
      const { verify } = await import("./verify.ts");
      await verify(context(), options);
    });
}
