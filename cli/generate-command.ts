import { join } from "node:path";
import { parseEgressRules } from "../mesh-rules/egress-rules.ts";
import { parseIngressRules } from "../mesh-rules/ingress-rules.ts";
import { type Fault, Malformed } from "../runtime/environment.ts";
import { type Context, printResult } from "./context.ts";
import { generate } from "./generate/generate.ts";
import type { Platform } from "./generate/platforms.ts";
import { FILES } from "./workspace.ts";

/** The options of `contrast generate` as commander gives them. */
export interface GenerateFlags {
  readonly referenceValues: Platform;
  readonly manifest?: string;
  readonly skipInitializer?: boolean;
  readonly skipServiceMesh?: boolean;
  readonly workloadOwnerKey: string[];
  readonly addSeedshareOwnerKey: string[];
  readonly seedshareThreshold?: number;
  readonly disableUpdates?: boolean;
  readonly imageReplacements?: string;
  readonly outputFile?: string;
}

/** `contrast generate`: policies, Initializer and mesh proxy into Kubernetes files; the manifest and keys beside. */
export async function runGenerate(context: Context, paths: readonly string[], flags: GenerateFlags): Promise<void> {
  const result = await generate(
    {
      paths,
      workspaceDir: context.workspace,
      referenceValues: flags.referenceValues,
      manifestPath: flags.manifest ?? join(context.workspace, FILES.manifest),
      skipInitializer: flags.skipInitializer,
      skipServiceMesh: flags.skipServiceMesh,
      workloadOwnerKeys: flags.workloadOwnerKey,
      seedshareOwnerKeys: flags.addSeedshareOwnerKey,
      seedshareThreshold: flags.seedshareThreshold,
      disableUpdates: flags.disableUpdates,
      imageReplacementsPath: flags.imageReplacements,
      outputPath: flags.outputFile,
      checkRules: (ingress, egress) => [
        ...(ingress === undefined ? [] : faultsOf(() => parseIngressRules(ingress))),
        ...(egress === undefined ? [] : faultsOf(() => parseEgressRules(egress))),
      ],
    },
    context,
  );
  const insecure = flags.referenceValues === "simulated";
  printResult(context, insecure, {
    result: "generated",
    manifest: result.manifestPath,
    "runtime class": result.runtimeClassName,
    policies: result.policies.map(({ hash, kind, name, file }) => `${hash} ${kind}/${name} (${file})`),
    written: result.changedFiles,
    ...(insecure ? { "software TEEs": result.policies.map(({ name, vmDir }) => `${name}: ${vmDir ?? ""}`) } : {}),
    ...(result.fillIn.length > 0 ? { "fill in by hand": result.fillIn } : {}),
  });
}

function faultsOf(parse: () => unknown): readonly Fault[] {
  try {
    parse();
    return [];
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return error.faults;
  }
}
