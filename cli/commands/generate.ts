import { type Command, InvalidArgumentError, Option } from "commander";
import type { Context } from "../context.ts";
import type { GenerateFlags } from "../generate-command.ts";
import { SIDECARS } from "../generate/sidecars.ts";
import { PLATFORMS } from "../generate/platform-names.ts";
import { collect, examples, manifestOption } from "./options.ts";

export function addGenerateCommand(program: Command, context: () => Context): void {
  program
    .command("generate")
    .description("add policies, the Initializer and the mesh proxy to Kubernetes files, and write the manifest")
    .argument("<path...>", "Kubernetes files, or folders of them")
    .addOption(
      new Option("--reference-values <platform>", "the platform that the pods run on")
        .choices(PLATFORMS)
        .makeOptionMandatory(),
    )
    .addOption(manifestOption())
    .option("--skip-initializer", "don't add the Initializer")
    .option("--skip-service-mesh", "don't add the mesh proxy")
    .addOption(
      new Option("--sidecar <kind>", "the mesh proxy as a native sidecar, or as a container for Kubernetes before 1.29")
        .choices(SIDECARS)
        .default("native"),
    )
    .option("-w, --workload-owner-key <file>", "key that may change the manifest, PEM (repeatable)", collect)
    .option("--add-seedshare-owner-key <file>", "RSA key that may recover the Coordinator, PEM (repeatable)", collect)
    .option("--seedshare-threshold <number>", "how many of these keys it takes to recover (default: 1)", parseThreshold)
    .option("-d, --disable-updates", "let nobody change the manifest later")
    .option("--image-replacements <file>", "lines of image=replacement")
    .option("--offline", "ask no registry about images: use what the cache has")
    .option("--strict", "let warnings stop it, as errors do")
    .option("-o, --output-file <file>", "write all resources there and leave the input alone")
    .addHelpText(
      "after",
      examples(
        "contrast generate --reference-values metal-qemu-snp deployment/",
        "helm template my-release my-chart > resources.yml",
        "contrast generate --reference-values k3s-qemu-tdx -o ready.yml resources.yml",
        "contrast generate --reference-values aks-clh-snp --offline --strict app.yml",
      ),
    )
    .action(async (paths: string[], flags: GenerateFlags) => {
      const { runGenerate } = await import("../generate-command.ts");
      await runGenerate(context(), paths, flags);
    });
}

function parseThreshold(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Want a whole number from 1 to the number of seed share owners' keys.");
}
