import { Argument, type Command } from "commander";
import type { Context } from "../context.ts";
import { FlagAlone } from "../option-value.ts";
import { collateralProxyOption, coordinatorOption, examples, manifestOption } from "../options.ts";
import type { VolumeOptions } from "./allow-format.ts";

const ACTIONS = ["allow-format", "revoke-format", "list"] as const;
type Action = (typeof ACTIONS)[number];

const LEAVE = `
A pod that finds its volume empty or unreadable formats it only by an owner's
leave: a disk that its host has emptied must not look like a new one. Each leave
is good for one format, of whatever is on the disk then, and does not expire:
take back what is not needed any more.`;

/** @param exit is told the exit code of what is not done yet */
export function addVolumeCommand(program: Command, context: () => Context, exit: (code: number) => void): void {
  program
    .command("volume")
    .description("allow to format encrypted volumes, take that back, and list it")
    .addArgument(
      new Argument(
        "<action>",
        "allow-format: allow it once more, whatever is on the disk; revoke-format: take back what nobody has used; " +
          "list: print how often it was allowed and done",
      ).choices(ACTIONS),
    )
    .argument("[volume]", "its name, that of the claim; or <WorkloadSecretID>/<name>")
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .addOption(new FlagAlone("--for <name>", "the workload that has it, by its name or its WorkloadSecretID"))
    .addOption(new FlagAlone("--prepare", "only write annex.json, for owners to sign with `sign --annex`"))
    .option("--workload-owner-key <file>", "the owner's key (default: workload-owner.pem of the workspace)")
    .addHelpText("after", LEAVE)
    .addHelpText(
      "after",
      examples(
        "contrast volume allow-format data -c coordinator.example.com --for db",
        "contrast volume revoke-format data -c coordinator.example.com --for db",
        "contrast volume list -c coordinator.example.com",
      ),
    )
    .action(async (action: Action, volume: string | undefined, options: VolumeOptions) => {
      if (action === "list") {
        const { listVolumes } = await import("./list.ts");
        await listVolumes(context(), volume, options);
      } else if (action === "revoke-format") {
        const { revokeFormat } = await import("./allow-format.ts");
        exit(await revokeFormat(context(), volume, options));
      } else {
        const { allowFormat } = await import("./allow-format.ts");
        exit(await allowFormat(context(), volume, options));
      }
    });
}
