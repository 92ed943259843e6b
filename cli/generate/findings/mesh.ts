import { MESH_PROXY } from "../../../policy/own-images.ts";
import { type EgressRule, parseEgressRules } from "../../../mesh-rules/egress-rules.ts";
import { type IngressRule, parseIngressRules } from "../../../mesh-rules/ingress-rules.ts";
import { Malformed } from "../../../runtime/environment.ts";
import { parsePort } from "../../../runtime/variables.ts";
import { allContainers, type PodSpec, statedValue } from "../../../kubernetes/pod-spec.ts";

/** What the mesh proxy of a pod does with its ports. */
export interface Mesh {
  /** Undefined: it leaves what comes from outside alone. */
  readonly ingress: readonly IngressRule[] | undefined;
  /** In mode `bind`, where `ingress` is undefined: the ports with a rule, and those that require a client certificate. */
  readonly bound: { readonly rules: readonly IngressRule[]; readonly ports: readonly number[] } | undefined;
  readonly egress: readonly EgressRule[];
  readonly adminPort: number | undefined;
}

const NONE: Mesh = { ingress: undefined, bound: undefined, egress: [], adminPort: undefined };

/** By the variables of the container, so that it does not matter who has put it there. */
export function meshOf(spec: PodSpec): Mesh {
  const proxy = allContainers(spec).find(({ name }) => name === MESH_PROXY);
  if (proxy === undefined) return NONE;
  const variables = new Map(proxy.env?.map((variable) => [variable.name, statedValue(variable)]));
  const isBound = variables.get("CONTRAST_INGRESS_MODE") === "bind";
  const rules = parsed(parseIngressRules, variables.get("CONTRAST_INGRESS_PROXY_CONFIG"));
  const ports = (variables.get("CONTRAST_INGRESS_PORTS") ?? "").split(",").flatMap((port) => parsePort(port) ?? []);
  return {
    ingress: isBound ? undefined : rules,
    bound: isBound && rules !== undefined ? { rules, ports } : undefined,
    egress: parsed(parseEgressRules, variables.get("CONTRAST_EGRESS_PROXY_CONFIG")) ?? [],
    adminPort: parsePort(variables.get("CONTRAST_ADMIN_PORT") ?? ""),
  };
}

/** What is malformed in an annotation has been refused; what else is, the proxy refuses. */
function parsed<T>(parse: (text: string) => T, text: string | undefined): T | undefined {
  try {
    return text === undefined ? undefined : parse(text);
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
