import type { ResourceFile } from "./resource-file.ts";
import { resources } from "./workloads.ts";

/** The values of ConfigMaps and Secrets that stand in files, so that a policy can name them. */

/** What a variable may take its value from. */
export type ConfigKind = "ConfigMap" | "Secret";

/** Keys and values as the kubelet makes variables of them; undefined: the files don't say, or say two things. */
export type FindConfig = (
  kind: ConfigKind,
  name: string,
  namespace: string | undefined,
) => ReadonlyMap<string, string> | undefined;

export const NOTHING_CONFIGURED: FindConfig = () => undefined;

/**
 * @param kinds whose values count
 */
export function configValues(files: readonly ResourceFile[], kinds: readonly ConfigKind[]): FindConfig {
  const found = new Map<string, ReadonlyMap<string, string> | undefined>();
  for (const { values } of files) {
    for (const { resource } of values.flatMap((value) => resources(value, []))) {
      const kind = kinds.find((kind) => kind === resource["kind"] && resource["apiVersion"] === "v1");
      const { name, namespace } = Object(resource["metadata"]) as Readonly<Record<string, unknown>>;
      if (kind === undefined || typeof name !== "string") continue;
      const key = keyOf(kind, name, typeof namespace === "string" ? namespace : undefined);
      // Which of two is applied last, nobody knows.
      found.set(key, found.has(key) ? undefined : valuesOf(kind, resource));
    }
  }
  return (kind, name, namespace) => found.get(keyOf(kind, name, namespace));
}

function keyOf(kind: ConfigKind, name: string, namespace = "default"): string {
  return `${kind}/${namespace}/${name}`;
}

/** @returns undefined where a value is not what an API server takes */
function valuesOf(kind: ConfigKind, resource: Readonly<Record<string, unknown>>): Map<string, string> | undefined {
  const values = new Map<string, string>();
  // A ConfigMap's `binaryData` makes no variables (k8s.io/kubernetes, pkg/kubelet/kubelet_pods.go).
  const fields: readonly (readonly [string, (text: string) => string | undefined])[] =
    kind === "ConfigMap"
      ? [["data", (text) => text]]
      : [
          ["data", decoded],
          ["stringData", (text) => text],
        ];
  for (const [field, read] of fields) {
    for (const [key, text] of Object.entries(Object(resource[field]) as Readonly<Record<string, unknown>>)) {
      const value = typeof text === "string" ? read(text) : undefined;
      if (value === undefined) return undefined;
      values.set(key, value);
    }
  }
  return values;
}

/** @returns undefined where it is no base64 of a text: a policy is text */
function decoded(base64: string): string | undefined {
  const compact = base64.replaceAll(/[\r\n]/g, "");
  const bytes = Buffer.from(compact, "base64");
  const text = bytes.toString("utf8");
  return bytes.toString("base64") === compact && Buffer.from(text).equals(bytes) ? text : undefined;
}
