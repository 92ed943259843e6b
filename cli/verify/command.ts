import type { Command } from "commander";
import { CliError, type Context } from "../context.ts";
import { FlagAlone } from "../option-value.ts";
import {
  collateralProxyOption,
  collect,
  examples,
  manifestOption,
  optionalCoordinatorOption,
  parseListen,
} from "../options.ts";
import type { VerifyOptions } from "./verify.ts";

interface VerifyFlags extends Partial<VerifyOptions> {
  readonly from?: string;
  readonly serve?: string | true;
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
    .addOption(
      new FlagAlone(
        "--serve [address:port]",
        "serve the page that verifies in a browser, and do nothing else (default: any port of 127.0.0.1)",
      ).argParser(parseListen),
    )
    .addHelpText(
      "after",
      examples(
        "contrast verify -c coordinator.example.com:1313",
        "contrast verify -c https://coordinator.example.com --save evidence.json",
        "contrast verify --from evidence.json -m manifest.json --output json",
        "contrast verify --serve 127.0.0.1:8080",
      ),
    )
    .action(async ({ from, serve: listen, ...options }: VerifyFlags, command: Command) => {
      if (listen !== undefined) {
        requireAlone(command, "serve", ["coordinator", "manifest", "save", "from"], "the page asks for these itself");
        const { serve } = await import("./serve/serve.ts");
        await serve(context(), listen);
        return;
      }
      if (from !== undefined) {
        requireAlone(command, "from", ["coordinator", "save"], "a statement is verified without a Coordinator");
        const { verifyFrom } = await import("./from.ts");
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

/** What is set elsewhere is meant for other uses; what stands here would be overlooked. @throws CliError usage */
function requireAlone(command: Command, name: string, excluded: readonly string[], why: string): void {
  const others = excluded.filter((other) => command.getOptionValueSource(other) === "cli");
  if (others.length === 0) return;
  throw new CliError("usage", why, { where: `--${name}, --${others.join(", --")}`, want: `--${name} alone` });
}
