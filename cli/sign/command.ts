import { type Command, Option } from "commander";
import type { Context } from "../context.ts";
import type { SignOptions } from "./sign.ts";
import { Alias, examples, manifestOption } from "../options.ts";

export function addSignCommand(program: Command, context: () => Context): void {
  const output = new Option(
    "-o, --output-file <file>",
    "where it goes (default: transition.sig of the workspace; with --prepare transition.tbs)",
  );
  program
    .command("sign")
    .description(
      "sign a change of the manifest, or of secrets and volumes, so that the command that makes it does not need the key",
    )
    .addOption(manifestOption())
    .option("--latest-transition <hex>", "the transition that the change follows (default: the pinned one)")
    .option("--workload-owner-key <file>", "the owner's private key (default: workload-owner.pem of the workspace)")
    .addOption(output)
    .addOption(new Alias("--out", output))
    .option("--annex <file>", "sign this annex: of `secret --prepare`, `volume --prepare` or `pending list`")
    .option("--rekey", "sign it as a rekey, with the root CA key that `rekey --prepare` wrote to rekey.json")
    .option("--prepare", "write the bytes to sign with a key that is not in a file (ECDSA with SHA-256, DER)")
    .addHelpText(
      "after",
      examples(
        "contrast sign --workload-owner-key owner.pem",
        "contrast sign --prepare -o change.tbs    # then sign it with the key's module",
        "contrast sign --annex annex.json",
      ),
    )
    .action(async (options: SignOptions) => {
      const { sign } = await import("./sign.ts");
      await sign(context(), options);
    });
}
