import { Argument, type Command } from "commander";
import type { Context } from "../context.ts";
import { FlagAlone } from "../option-value.ts";
import { collateralProxyOption, collect, coordinatorOption, examples, manifestOption } from "../options.ts";
import type { SecretOptions } from "./options.ts";

const ACTIONS = ["set", "list", "rm"] as const;
type Action = (typeof ACTIONS)[number];

const VALUE = `
The value is taken byte for byte: a line end at the end of the file or of
standard input is part of it. \`printf %s\` writes none, \`echo\` does. It has
1 byte to 64 KiB.

Readers:
  --for web               this workload, by its WorkloadSecretID
  --for workload:<id>     all pods with this WorkloadSecretID
  --for policy:<hex>,     the pods of this policy: once their file is changed
    --for <hex>           they have another, which may not read it

\`set\` makes a new version. Who could read the one before still can, so that pods
can be rolled out one after the other; --revoke ends that. No pod is restarted.`;

/** @param exit is told the exit code of what is not done yet */
export function addSecretCommand(program: Command, context: () => Context, exit: (code: number) => void): void {
  program
    .command("secret")
    .description("set, list or remove secrets, which workloads find as files")
    .addArgument(
      new Argument(
        "<action>",
        "set: give a secret a new version; list: print names, versions and readers; rm: remove all versions",
      ).choices(ACTIONS),
    )
    .argument("[name]", "the secret: letters, digits, `-`, `_` and `.`, at most 63")
    .addOption(coordinatorOption())
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .addOption(
      new FlagAlone(
        "--for <name>",
        "set: who may read it (default: who may read the version before) (repeatable)",
      ).argParser(collect),
    )
    .addOption(new FlagAlone("--from-file <file>", "set: the value (default: standard input)"))
    .addOption(new FlagAlone("--revoke", "set: the version before can't be read any more"))
    .addOption(new FlagAlone("--prepare", "set, rm: only write annex.json, for owners to sign with `sign --annex`"))
    .option("--workload-owner-key <file>", "the owner's key (default: workload-owner.pem of the workspace)")
    .addHelpText("after", VALUE)
    .addHelpText(
      "after",
      examples(
        "contrast secret set db -c coordinator.example.com --for web --from-file db.txt",
        "printf %s hunter2 | contrast secret set db -c coordinator.example.com",
        "contrast secret list -c coordinator.example.com",
        "contrast secret rm db -c coordinator.example.com",
      ),
    )
    .action(async (action: Action, name: string | undefined, options: SecretOptions) => {
      if (action === "list") {
        const { listSecrets } = await import("./list.ts");
        await listSecrets(context(), name, options);
      } else if (action === "set") {
        const { setSecret } = await import("./set.ts");
        exit(await setSecret(context(), name, options));
      } else {
        const { removeSecret } = await import("./remove.ts");
        exit(await removeSecret(context(), name, options));
      }
    });
}
