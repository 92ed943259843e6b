import type { Writable } from "node:stream";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { VERSION } from "../runtime/version.ts";
import type { MeshProxyConfiguration } from "./configuration.ts";
import { forConnections } from "./limits/descriptors.ts";
import { type Limits, limitsOf } from "./limits/limits.ts";
import { FOOTPRINTS } from "./limits/memory.ts";
import { AccessLog } from "./observe/access-log.ts";
import type { EngineName, Metrics, Usage } from "./observe/metrics.ts";
import type { RoutePlan } from "./plan.ts";

/** What is seen of all connections, whichever engine serves them. */
export interface Observation {
  readonly admission: Usage;
  readonly metrics: Metrics;
  readonly accessLog: AccessLog | undefined;
}

export interface Resources {
  /** Of the process, in bytes. */
  readonly memory: number;
  /** How many descriptors the process may have; undefined: any number. */
  readonly descriptors: number | undefined;
}

export function limitsFor(
  configuration: MeshProxyConfiguration,
  engine: EngineName,
  { memory, descriptors }: Resources,
): Limits {
  return limitsOf(configuration, {
    memory,
    footprint: FOOTPRINTS[engine],
    descriptors: forConnections(descriptors),
    hasIngress: configuration.CONTRAST_INGRESS_PROXY_CONFIG !== undefined,
    egressRules: configuration.CONTRAST_EGRESS_PROXY_CONFIG.length,
  });
}

export function accessLogFor(
  configuration: MeshProxyConfiguration,
  { stdout, now }: { readonly stdout: Writable; readonly now: () => Date },
): AccessLog | undefined {
  return configuration.CONTRAST_ACCESS_LOG === "1" ? new AccessLog(stdout, now) : undefined;
}

/** What `/config` shows. No variable of the proxy is a secret; keys are in files. */
export function inEffect(
  configuration: MeshProxyConfiguration,
  plans: readonly RoutePlan[],
  engine: EngineName,
  { admission }: Observation,
): unknown {
  return {
    version: VERSION,
    engine,
    listeners: plans.map(({ name, at, to }) => ({ name, at: formatEndpoint(at), to })),
    limits: admission.limits,
    variables: configuration,
  };
}
