import * as z from "zod/mini";
import { fromUtf8 } from "../bytes/encode.ts";
import { ManifestError } from "../manifest/error.ts";
import { parseJson } from "../manifest/json.ts";
import { parseWith } from "../manifest/schema.ts";
import { type Permission, PERMISSIONS } from "../policy/permissions.ts";
import { POLICY_RULES } from "../policy/policy-rules.ts";

/**
 * What the policy of a pod says, as `generate` writes it: the rules, which are the same for all pods, and behind them
 * `policy_data := ` with one JSON object. Only of policies with rules that are known does the data say what is enforced:
 * others may pass over it.
 */
export interface ParsedPolicy {
  /** The whole of it. */
  readonly rego: string;
  /** Undefined where the policy has another form. */
  readonly generated: GeneratedPolicy | undefined;
}

export interface GeneratedPolicy {
  readonly rules: string;
  readonly data: PolicyData;
}

const container = z.looseObject({ name: z.string(), type: z.optional(z.string()), privileged: z.unknown() });

/** Further keys are kept: what later versions write has to be shown as well. */
const schema = z.looseObject({
  workload: z.looseObject({ kind: z.string(), namespace: z.nullish(z.string()), name: z.string() }),
  containers: z.array(container),
});

export type PolicyData = z.infer<typeof schema>;

/** Anything but false, so that a form of later versions is not passed over. */
export function isPrivileged({ privileged }: PolicyData["containers"][number]): boolean {
  return privileged !== undefined && privileged !== false;
}

/** What the host may do beside what every pod needs, in words; permissions of later versions by their names. */
export function permittedBy({ permissions }: PolicyData): string[] {
  const names: readonly unknown[] = Array.isArray(permissions) ? permissions : [permissions ?? []].flat();
  return names
    .map(String)
    .filter((name) => name !== "logs")
    .map((name) => (Object.hasOwn(PERMISSIONS, name) ? `${PERMISSIONS[name as Permission]} (${name})` : `do ${name}`));
}

const DATA = "\npolicy_data := ";

export function parsePolicy(rego: string): ParsedPolicy {
  const at = rego.indexOf(DATA);
  if (at < 0) return { rego, generated: undefined };
  const data = readData(rego.slice(at + DATA.length));
  return { rego, generated: data && { rules: rego.slice(0, at), data } };
}

/** Whether this version wrote these rules. */
export function areOwnRules(rules: string): boolean {
  return rules.trimEnd() === POLICY_RULES.trimEnd();
}

/** Nothing may follow: a rule behind the data could take back what it says. */
function readData(json: string): PolicyData | undefined {
  try {
    const value = parseJson(fromUtf8(json));
    // Not what zod gives back: it leaves out a key `__proto__`.
    return parseWith(schema, value).data !== undefined ? (value as PolicyData) : undefined;
  } catch (error) {
    if (error instanceof ManifestError) return undefined;
    throw error;
  }
}

/** How a pod is called by people: `Deployment emojivoto/web`. One whose policy names none is called by its SANs. */
export function podName(policy: ParsedPolicy | undefined, sans: readonly string[]): string {
  if (policy?.generated === undefined) return `pod with the names ${sans.join(", ") || "(none)"}`;
  const { kind, namespace, name } = policy.generated.data.workload;
  return `${kind} ${namespace ? `${namespace}/` : ""}${name}`;
}
