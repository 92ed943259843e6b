import type { Command } from "commander";
import { CliError, type Context } from "../context.ts";
import { FlagAlone } from "../option-value.ts";
import { collateralProxyOption, collect, examples, manifestOption, optionalCoordinatorOption } from "../options.ts";
import type { VerifyOptions } from "./verify.ts";

interface VerifyFlags extends Partial<VerifyOptions> {
  readonly from?: string;
}

export function addVerifyCommand(program: Command, context: () => Context): void {
  program
    .command("verify")
    .description(
      "verify the Coordinator against the manifest and the pin, and save its history and certificates below verify/",
    )
    .addOption(optionalCoordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option(
      "--former-seedshare-owner <hex>",
      "accept that the owner of this key, of an earlier manifest, may know the seed (repeatable)",
      collect,
    )
    .addOption(new FlagAlone("--save <file>", "over https: keep a statement of the result, which --from verifies"))
    .addOption(new FlagAlone("--from <file>", "verify a statement instead of a Coordinator, without a network"))
    .addHelpText(
      "after",
      examples(
        "contrast verify -c coordinator.example.com:1313",
        "contrast verify -c https://coordinator.example.com --save evidence.json",
        "contrast verify --from evidence.json -m manifest.json --output json",
      ),
    )
    .action(async ({ from, ...options }: VerifyFlags, command: Command) => {
      if (from !== undefined) {
        const { verifyFrom } = await import("./from.ts");
        requireAlone(command);
        await verifyFrom(context(), from, options);
        return;
      }
      const { coordinator } = options;
      if (coordinator === undefined) {
        // As commander says it of an option that is always asked for.
        command.error("error: required option '-c, --coordinator <host:port|url>' not specified", {
          code: "commander.missingMandatoryOptionValue",
        });
      }
      const { verify } = await import("./verify.ts");
      await verify(context(), { ...options, coordinator });
    });
}

/** A Coordinator that is set elsewhere is meant for other commands; one that stands here is not asked. @throws CliError usage */
function requireAlone(command: Command): void {
  const others = ["coordinator", "save"].filter((name) => command.getOptionValueSource(name) === "cli");
  if (others.length === 0) return;
  throw new CliError("usage", "a statement is verified without a Coordinator", {
    where: `--from, --${others.join(", --")}`,
    want: "--from alone",
  });
}
