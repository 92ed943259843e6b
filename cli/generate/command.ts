import { type Command, InvalidArgumentError, Option } from "commander";
import type { Context } from "../context.ts";
import type { GenerateFlags } from "./run.ts";
import { MOST_SIGNATURES } from "../../manifest/change-signature.ts";
import { addGuestOptions } from "./guest-options.ts";
import { parseNamedKind } from "../../kubernetes/kinds.ts";
import { parsePermissions, type Permission, PERMISSION_NAMES, PERMISSIONS } from "../../policy/permissions.ts";
import { SIDECARS } from "./sidecars.ts";
import { type Platform, PLATFORMS } from "./platform-names.ts";
import { Alias, append, collateralProxyOption, collect, examples, manifestOption } from "../options.ts";

export function addGenerateCommand(program: Command, context: () => Context): void {
  addGuestOptions(describe(program)).action(async (paths: string[], flags: GenerateFlags) => {
    const { runGenerate } = await import("./run.ts");
    await runGenerate(context(), paths, flags);
  });
}

function describe(program: Command): Command {
  const owner = new Option(
    "-w, --workload-owner-key <file>",
    "key of an owner that may change the manifest, PEM (repeatable)",
  ).argParser(collect);
  const output = new Option(
    "-o, --output-file <file>",
    "write all resources to this file and leave the input unchanged; - is standard output",
  );
  return program
    .command("generate")
    .description("add policies, the Initializer and the mesh proxy to Kubernetes files, and write the manifest")
    .argument(
      "<path...>",
      "Kubernetes files, or folders with such files; - reads standard input and writes the result to standard output",
    )
    .addOption(
      new Option(
        "--reference-values <platform>",
        "platform of the pods; of several, the runtime class of a pod names its own (repeatable)",
      )
        .choices(PLATFORMS)
        .argParser(collectPlatform)
        .makeOptionMandatory(),
    )
    .addOption(manifestOption())
    .addOption(collateralProxyOption())
    .option("--skip-initializer", "don't add the Initializer")
    .option("--skip-service-mesh", "don't add the mesh proxy")
    .addOption(
      new Option(
        "--sidecar <kind>",
        "run the mesh proxy as a native sidecar, or as a container for Kubernetes before 1.29",
      )
        .choices(SIDECARS)
        .default("native"),
    )
    .option(
      "--coordinator-namespace <name>",
      "namespace of the Coordinator (default: that of the Coordinator among the files)",
      parseNamespace,
    )
    .addOption(permissionOption("--allow <permission>", "let the host do more with all pods (repeatable)"))
    .addOption(permissionOption("--deny <permission>", "take a permission from all pods (repeatable)"))
    .option("--ipv4-only", "refuse IPv6 addresses and routes, for guests that can't filter IPv6")
    .addOption(owner)
    .addOption(new Alias("--add-workload-owner-key", owner))
    .option(
      "--workload-owner-threshold <number>",
      "how many of these owners a change of the manifest needs (default: 1)",
      parseOwnerThreshold,
    )
    .option(
      "--add-seedshare-owner-key <file>",
      "RSA key of an owner that may recover the Coordinator, PEM (repeatable)",
      collect,
    )
    .option("--seedshare-threshold <number>", "how many of these owners a recovery needs (default: 1)", parseThreshold)
    .option("-d, --disable-updates", "let nobody change the manifest later")
    .option("--measurements <file>", "what `contrast measure` wrote as JSON, for the manifest (repeatable)", collect)
    .option("--image-replacements <file>", "file with lines image=replacement")
    .option(
      "--kind <group/Kind=path>",
      "kind of a custom resource with pods, and the path of its pod template (repeatable)",
      collectKind,
    )
    .option("--drop-predecessors", "remove the policies of Coordinators that have been replaced from the manifest")
    .option("--pin-secrets", "pin the values of Secrets in the given files; whoever reads a policy can read them")
    .option("--offline", "don't ask registries about images; use the cache")
    .option("--strict", "treat warnings as errors")
    .addOption(output)
    .addOption(new Alias("--out", output))
    .addHelpText(
      "after",
      examples(
        "contrast generate --reference-values metal-qemu-snp deployment/",
        "helm template my-release my-chart > resources.yml",
        "contrast generate --reference-values k3s-qemu-tdx -o ready.yml resources.yml",
        "contrast generate --reference-values aks-clh-snp --offline --strict app.yml",
        "contrast generate --reference-values metal-qemu-snp \\",
        "    --measurements measurements.json deployment/",
        "helm template rel chart | contrast generate --reference-values k3s-qemu-tdx -",
      ),
    );
}

/** Without regard to case: `Metal-QEMU-SNP` is how documents about Kata write it. */
function collectPlatform(text: string, before?: readonly Platform[]): readonly Platform[] {
  const platform = PLATFORMS.find((name) => name === text.toLowerCase());
  if (platform === undefined) throw new InvalidArgumentError(`Allowed choices are ${PLATFORMS.join(", ")}.`);
  return append(platform, before);
}

function parseNamespace(text: string): string {
  if (/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) return text;
  throw new InvalidArgumentError("Want a name of lower-case letters, digits and hyphens.");
}

function collectKind(text: string, before?: readonly string[]): readonly string[] {
  if (parseNamedKind(text) === undefined) {
    throw new InvalidArgumentError("Want a kind and a path, like argoproj.io/Rollout=spec.template.");
  }
  return collect(text, before);
}

function permissionOption(flags: string, description: string): Option {
  return new Option(flags, description).choices(Object.keys(PERMISSIONS)).argParser(collectPermission);
}

function collectPermission(text: string, before: readonly Permission[] = []): readonly Permission[] {
  const found = parsePermissions(text);
  if (found === undefined || found.length === 0) throw new InvalidArgumentError(`Want ${PERMISSION_NAMES}.`);
  return found.reduce((list, permission) => append(permission, list), before);
}

function parseOwnerThreshold(text: string): number {
  if (/^[1-9]\d?$/.test(text) && Number(text) <= MOST_SIGNATURES) return Number(text);
  throw new InvalidArgumentError(
    `Want a whole number from 1 to the number of workload owners' keys, at most ${MOST_SIGNATURES}.`,
  );
}

function parseThreshold(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Want a whole number from 1 to the number of seed share owners' keys.");
}
