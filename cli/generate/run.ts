import { join } from "node:path";
import { findKind, type NamedKind, parseNamedKind } from "../../kubernetes/kinds.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { type Finding, FindingsError } from "./finding.ts";
import { generate, STANDARD_STREAM } from "./generate.ts";
import type { Permission } from "../../policy/permissions.ts";
import type { Platform } from "./platform-names.ts";
import type { Sidecar } from "./sidecars.ts";
import { FILES } from "../workspace/workspace.ts";
import { parseRegistryMirror } from "./guest-options.ts";

/** The options of `contrast generate` as commander gives them. */
export interface GenerateFlags {
  readonly referenceValues: readonly Platform[];
  readonly manifest?: string;
  readonly skipInitializer?: boolean;
  readonly skipServiceMesh?: boolean;
  readonly sidecar?: Sidecar;
  readonly coordinatorNamespace?: string;
  readonly allow?: readonly Permission[];
  readonly deny?: readonly Permission[];
  readonly collateralProxy?: string;
  readonly guestCa?: readonly string[];
  readonly guestRegistryMirror?: readonly string[];
  readonly guestHttpsProxy?: string;
  readonly guestNoProxy?: string;
  readonly ipv4Only?: boolean;
  readonly workloadOwnerKey?: readonly string[];
  readonly workloadOwnerThreshold?: number;
  readonly addSeedshareOwnerKey?: readonly string[];
  readonly seedshareThreshold?: number;
  readonly disableUpdates?: boolean;
  readonly imageReplacements?: string;
  readonly measurements?: readonly string[];
  readonly kind?: readonly string[];
  readonly offline?: boolean;
  readonly dropPredecessors?: boolean;
  readonly pinSecrets?: boolean;
  readonly strict?: boolean;
  readonly outputFile?: string;
}

/** `contrast generate`: policies, Initializer and mesh proxy into Kubernetes files; the manifest and keys beside. */
export async function runGenerate(given: Context, paths: readonly string[], flags: GenerateFlags): Promise<void> {
  const reads = paths.includes(STANDARD_STREAM);
  if (reads) requirePipe(given, paths);
  // Whoever reads the resources from standard output reads nothing else there.
  const isFilter = (flags.outputFile ?? (reads ? STANDARD_STREAM : undefined)) === STANDARD_STREAM;
  const context = isFilter ? { ...given, out: (text: string) => given.talk(text.trimEnd()) } : given;
  const insecure = flags.referenceValues.includes("simulated");
  if (insecure && flags.referenceValues.length > 1) {
    const got = `--reference-values ${flags.referenceValues.join(", ")}`;
    const want = "simulated alone: a manifest must not trust a software TEE beside hardware";
    throw new CliError("usage", "these platforms don't go together", { got, want });
  }
  try {
    const result = await generate(
      {
        paths,
        workspaceDir: context.workspace,
        referenceValues: [...new Set(flags.referenceValues)],
        manifestPath: flags.manifest ?? join(context.workspace, FILES.manifest),
        skipInitializer: flags.skipInitializer,
        skipServiceMesh: flags.skipServiceMesh,
        sidecar: flags.sidecar,
        coordinatorNamespace: flags.coordinatorNamespace,
        permissions: { allow: flags.allow ?? [], deny: flags.deny ?? [] },
        collateralProxy: flags.collateralProxy,
        guestCas: flags.guestCa,
        guestRegistryMirrors: flags.guestRegistryMirror?.map(parseRegistryMirror),
        guestHttpsProxy: flags.guestHttpsProxy,
        guestNoProxy: flags.guestNoProxy,
        ipv4Only: flags.ipv4Only,
        dropPredecessors: flags.dropPredecessors,
        pinSecrets: flags.pinSecrets,
        strict: flags.strict,
        workloadOwnerKeys: flags.workloadOwnerKey ?? [],
        workloadOwnerThreshold: flags.workloadOwnerThreshold,
        seedshareOwnerKeys: flags.addSeedshareOwnerKey ?? [],
        seedshareThreshold: flags.seedshareThreshold,
        disableUpdates: flags.disableUpdates,
        imageReplacementsPath: flags.imageReplacements,
        measurementsPaths: flags.measurements,
        kinds: namedKinds(flags.kind ?? []),
        outputPath: flags.outputFile,
      },
      {
        now: context.now,
        talk: context.talk,
        warn: context.warn,
        input: context.input,
        resolveImages: (references) => context.resolveImages(references, flags.offline === true),
      },
    );
    printResult(context, insecure, {
      result: "generated",
      manifest: result.manifestPath,
      ...(result.runtimeClassNames.length === 1
        ? { "runtime class": result.runtimeClassNames[0] }
        : { "runtime classes": result.runtimeClassNames }),
      policies: result.policies.map(({ hash, kind, name, file }) => `${hash} ${kind}/${name} (${file})`),
      ...(result.volumes.length > 0 ? { volumes: result.volumes } : {}),
      written: result.changedFiles,
      ...(insecure ? { "software TEEs": result.policies.map(({ name, vmDir }) => `${name}: ${vmDir ?? ""}`) } : {}),
      ...(result.secretsPath === undefined ? {} : { secrets: `${result.secretsPath}: apply it with the pods` }),
      ...(context.format === "json" ? { findings: result.findings.map(plain) } : {}),
      ...(result.fillIn.length > 0
        ? { "fill in by hand": result.fillIn.map(({ where, want }) => `${where}: ${want}`) }
        : {}),
    });
    if (result.output !== undefined) given.out(result.output);
  } catch (error) {
    // People have read the findings on standard error.
    if (error instanceof FindingsError && context.format === "json") {
      printResult(context, insecure, { result: "refused", findings: error.findings.map(plain) });
    }
    throw error;
  }
}

/**
 * A terminal would wait for somebody to type resources, who waits for the command.
 *
 * @throws CliError usage
 */
function requirePipe({ input }: Context, paths: readonly string[]): void {
  const count = paths.filter((path) => path === STANDARD_STREAM).length;
  if (count > 1) {
    throw new CliError("usage", "standard input can be read once", { got: `- ${count} times`, want: "- once" });
  }
  if (input().isTTY !== true) return;
  throw new CliError("usage", "standard input is a terminal", {
    got: "-",
    want: "resources from a pipe or a file",
    hint: "kubectl kustomize overlay/ | contrast generate … -",
  });
}

/**
 * @param texts as the command line has them; a configuration file may have others
 * @throws CliError usage
 */
function namedKinds(texts: readonly string[]): NamedKind[] {
  const kinds = texts.map((text) => {
    const named = parseNamedKind(text);
    const got = `--kind ${text}`;
    if (named === undefined) {
      throw new CliError("usage", "a kind has another form", { got, want: "group/Kind=path.to.template" });
    }
    const isKnown = findKind(`${named.group}/v1`, named.kind) !== undefined;
    if (isKnown)
      throw new CliError("usage", "`generate` knows this kind", { got, want: "a kind of a custom resource" });
    return named;
  });
  const names = kinds.map(({ group, kind }) => `${group}/${kind}`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return kinds;
  throw new CliError("usage", "a kind is named twice", { got: twice, want: "one path for each kind" });
}

function plain({ severity, code, where, got, want, hint }: Finding): Record<string, string> {
  return { severity, code, where, got, want, ...(hint !== undefined && { hint }) };
}
