import { fieldIn, placeIn, type ResourceFile, type TreePath } from "./resource-file.ts";
import { resources, type Workload } from "./workloads.ts";

/** A PersistentVolumeClaim, or a template of one, as far as it is known. */
export interface Claim {
  readonly name: string;
  /** Undefined: a file system. */
  readonly volumeMode: string | undefined;
  readonly accessModes: readonly string[];
  /** How much it asks for, as the file has it. */
  readonly storage: string | number | undefined;
  /** `file:line:column, field` of the claim, or of what stands in its spec. */
  readonly place: (...path: TreePath) => string;
}

/** Of a StatefulSet, or of another kind that has them at the same place: each of its pods gets a claim of its own. */
export function claimTemplates({ file, document, path }: Workload): Claim[] {
  const base = [...path, "spec", "volumeClaimTemplates"];
  const templates = base.reduce<unknown>((value, step) => loose(value)[step], file.values[document]);
  return Array.isArray(templates)
    ? templates.map((template: unknown, index) => claimAt(file, document, [...base, index], template))
    : [];
}

/** The claims that stand in files, by `<namespace>/<name>`. */
export function findClaims(files: readonly ResourceFile[]): ReadonlyMap<string, Claim> {
  const claims = new Map<string, Claim>();
  for (const file of files) {
    for (const [document, value] of file.values.entries()) {
      for (const { resource, path } of resources(value, [])) {
        if (resource["kind"] !== "PersistentVolumeClaim") continue;
        const namespace = loose(resource["metadata"])["namespace"];
        const claim = claimAt(file, document, path, resource);
        claims.set(claimKey(claim.name, typeof namespace === "string" ? namespace : undefined), claim);
      }
    }
  }
  return claims;
}

export function claimKey(name: string, namespace = "default"): string {
  return `${namespace}/${name}`;
}

function claimAt(file: ResourceFile, document: number, path: TreePath, value: unknown): Claim {
  const { metadata, spec } = loose(value);
  const { volumeMode, accessModes, resources: wanted } = loose(spec);
  const { storage } = loose(loose(wanted)["requests"]);
  return {
    name: String(loose(metadata)["name"]),
    volumeMode: typeof volumeMode === "string" ? volumeMode : undefined,
    accessModes: Array.isArray(accessModes) ? accessModes.map(String) : [],
    storage: typeof storage === "string" || typeof storage === "number" ? storage : undefined,
    place: (...inner) => {
      const whole = inner.length === 0 ? path : [...path, "spec", ...inner];
      return `${placeIn(file, document, whole)}, ${fieldIn(whole)}`;
    },
  };
}

function loose(value: unknown): Readonly<Record<string | number, unknown>> {
  return Object(value) as Readonly<Record<string | number, unknown>>;
}
