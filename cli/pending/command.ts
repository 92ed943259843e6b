import { Argument, type Command } from "commander";
import type { Context } from "../context.ts";
import { collateralProxyOption, coordinatorOption, examples, manifestOption } from "../options.ts";
import type { PendingOptions } from "./options.ts";

const ACTIONS = ["list", "sign", "drop"] as const;
type Action = (typeof ACTIONS)[number];

/** @param exit is told the exit code of what is not done yet */
export function addPendingCommand(program: Command, context: () => Context, exit: (code: number) => void): void {
  program
    .command("pending")
    .description("list, sign or take back changes of the manifest that wait for more owners' signatures")
    .addArgument(
      new Argument(
        "<action>",
        "list: save them below pending/; sign: add your signature to one; drop: take your signature back",
      ).choices(ACTIONS),
    )
    .argument("[file]", "the manifest to sign or to drop, as you have read it (default: the manifest at hand)")
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option("--workload-owner-key <file>", "the owner's key (default: workload-owner.pem of the workspace)")
    .option("--signature <file>", "sign: the owner's signature, made by `sign`; the key may then be the public one")
    .option("--revoke", "sign: when the change is set, trust no certificate of before any more")
    .addHelpText(
      "after",
      examples(
        "contrast pending list -c coordinator.example.com",
        "contrast pending sign -c coordinator.example.com next.json",
        "contrast pending drop -c coordinator.example.com next.json",
      ),
    )
    .action(async (action: Action, file: string | undefined, options: PendingOptions) => {
      if (action === "list") {
        const { listPending } = await import("./list.ts");
        await listPending(context(), file, options);
      } else if (action === "sign") {
        const { signPending } = await import("./sign.ts");
        exit(await signPending(context(), file, options));
      } else {
        const { dropPending } = await import("./drop.ts");
        await dropPending(context(), file, options);
      }
    });
}
