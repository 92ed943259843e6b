import { join } from "node:path";
import { type Context, printResult } from "./context.ts";
import { type Finding, FindingsError } from "./generate/finding.ts";
import { generate } from "./generate/generate.ts";
import type { Platform } from "./generate/platform-names.ts";
import type { Sidecar } from "./generate/sidecars.ts";
import { FILES } from "./workspace.ts";

/** The options of `contrast generate` as commander gives them. */
export interface GenerateFlags {
  readonly referenceValues: Platform;
  readonly manifest?: string;
  readonly skipInitializer?: boolean;
  readonly skipServiceMesh?: boolean;
  readonly sidecar?: Sidecar;
  readonly workloadOwnerKey?: readonly string[];
  readonly addSeedshareOwnerKey?: readonly string[];
  readonly seedshareThreshold?: number;
  readonly disableUpdates?: boolean;
  readonly imageReplacements?: string;
  readonly offline?: boolean;
  readonly strict?: boolean;
  readonly outputFile?: string;
}

/** `contrast generate`: policies, Initializer and mesh proxy into Kubernetes files; the manifest and keys beside. */
export async function runGenerate(context: Context, paths: readonly string[], flags: GenerateFlags): Promise<void> {
  const insecure = flags.referenceValues === "simulated";
  try {
    const result = await generate(
      {
        paths,
        workspaceDir: context.workspace,
        referenceValues: flags.referenceValues,
        manifestPath: flags.manifest ?? join(context.workspace, FILES.manifest),
        skipInitializer: flags.skipInitializer,
        skipServiceMesh: flags.skipServiceMesh,
        sidecar: flags.sidecar,
        strict: flags.strict,
        workloadOwnerKeys: flags.workloadOwnerKey ?? [],
        seedshareOwnerKeys: flags.addSeedshareOwnerKey ?? [],
        seedshareThreshold: flags.seedshareThreshold,
        disableUpdates: flags.disableUpdates,
        imageReplacementsPath: flags.imageReplacements,
        outputPath: flags.outputFile,
      },
      {
        now: context.now,
        talk: context.talk,
        warn: context.warn,
        resolveImages: (references) => context.resolveImages(references, flags.offline === true),
      },
    );
    printResult(context, insecure, {
      result: "generated",
      manifest: result.manifestPath,
      "runtime class": result.runtimeClassName,
      policies: result.policies.map(({ hash, kind, name, file }) => `${hash} ${kind}/${name} (${file})`),
      written: result.changedFiles,
      ...(insecure ? { "software TEEs": result.policies.map(({ name, vmDir }) => `${name}: ${vmDir ?? ""}`) } : {}),
      ...(context.format === "json" ? { findings: result.findings.map(plain) } : {}),
      ...(result.fillIn.length > 0
        ? { "fill in by hand": result.fillIn.map(({ where, want }) => `${where}: ${want}`) }
        : {}),
    });
  } catch (error) {
    // People have read the findings on standard error.
    if (error instanceof FindingsError && context.format === "json") {
      printResult(context, insecure, { result: "refused", findings: error.findings.map(plain) });
    }
    throw error;
  }
}

function plain({ severity, code, where, got, want, hint }: Finding): Record<string, string> {
  return { severity, code, where, got, want, ...(hint !== undefined && { hint }) };
}
