import { Malformed } from "../runtime/environment.ts";
import { oneOf, parsePort } from "../runtime/variables.ts";
import { PORT } from "./entries.ts";
import { type IngressRule, parseIngressRules } from "./ingress-rules.ts";

/** What the mesh proxy and the Initializer of a pod are both told about its ports. */
export const ingressVariables = {
  CONTRAST_INGRESS_PROXY_CONFIG: {
    help: "ingress rules; unset: ingress is not configured; empty: every port needs a client certificate",
    unset: undefined as readonly IngressRule[] | undefined,
    parse: parseIngressRules,
  },
  CONTRAST_INGRESS_MODE: oneOf(["transparent", "bind"], "transparent", "how ingress connections reach the mesh proxy"),
  CONTRAST_ADMIN_PORT: {
    help: "the mesh proxy's port for /healthz, /readyz, /metrics and /config; unset or empty: none",
    unset: undefined as number | undefined,
    parse(text: string) {
      // As `generate` writes it where there is no such port, so that no Service can set it.
      if (text === "") return undefined;
      const port = parsePort(text);
      if (port === undefined) throw Malformed.text(text, PORT);
      return port;
    },
  },
} as const;

interface Ingress {
  readonly CONTRAST_INGRESS_PROXY_CONFIG: readonly IngressRule[] | undefined;
  readonly CONTRAST_INGRESS_MODE: "transparent" | "bind";
  readonly CONTRAST_ADMIN_PORT: number | undefined;
}

/**
 * The ports of TCP that anybody may connect to without the proxy.
 *
 * @returns undefined where the proxy leaves the pod's ports alone
 */
export function openPorts({
  CONTRAST_INGRESS_PROXY_CONFIG: rules,
  CONTRAST_INGRESS_MODE: mode,
  CONTRAST_ADMIN_PORT: adminPort,
}: Ingress): number[] | undefined {
  if (rules === undefined || mode === "bind") return undefined;
  const open = rules.filter(({ disableTls }) => disableTls).map(({ port }) => port);
  // A rule about the admin port goes before.
  if (adminPort !== undefined && rules.every(({ port }) => port !== adminPort)) open.push(adminPort);
  return open;
}
