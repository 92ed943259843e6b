import type { Writable } from "node:stream";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { VERSION } from "../runtime/version.ts";
import { AccessLog } from "./observe/access-log.ts";
import { Admission } from "./limits/admission.ts";
import type { MeshProxyConfiguration } from "./configuration.ts";
import { forConnections } from "./base/descriptors.ts";
import { type Limits, limitsOf } from "./limits/limits.ts";
import { FOOTPRINTS } from "./limits/memory.ts";
import { MemoryWatch } from "./limits/memory-watch.ts";
import { type EngineName, Metrics, type Observed, RuleMetrics, type Usage } from "./observe/metrics.ts";
import type { RoutePlan } from "./plan.ts";
import type { MemoryOf } from "./limits/socket-memory.ts";

/** What is seen of all connections, whichever engine serves them. */
export interface Observation {
  readonly admission: Usage;
  readonly metrics: Metrics;
  readonly accessLog: AccessLog | undefined;
}

/** What limits and observes all connections of the engine `streams`. */
export interface Telemetry extends Observation {
  readonly admission: Admission;
  readonly metrics: Metrics<RuleMetrics>;
  /** Milliseconds since whenever; never goes back. */
  readonly clock: () => number;
  readonly memory: MemoryWatch;
}

export interface TelemetryOptions {
  readonly credentials: Observed["credentials"];
  /** How many descriptors the process may have; undefined: any number. */
  readonly descriptors: number | undefined;
  /** Of the process, in bytes. */
  readonly memory: number;
  /** What of it is in use, as of `memoryInUse`. */
  readonly memoryInUse: () => number | undefined;
  readonly memoryOf: MemoryOf;
  readonly stdout: Writable;
  readonly now: () => Date;
  readonly clock: () => number;
}

export function createTelemetry(configuration: MeshProxyConfiguration, options: TelemetryOptions): Telemetry {
  const { credentials, now, clock, memory, memoryInUse: inUse, memoryOf } = options;
  const admission = new Admission(limitsFor(configuration, "streams", options), clock);
  const accessLog = accessLogFor(configuration, options);
  const observed = { engine: "streams", admission, credentials, accessLog, startedAt: now() } as const;
  const metrics = new Metrics(observed, (direction, name) => new RuleMetrics(direction, name));
  return { admission, metrics, accessLog, clock, memory: new MemoryWatch({ inUse, memoryOf, limit: memory }) };
}

export function limitsFor(
  configuration: MeshProxyConfiguration,
  engine: EngineName,
  { memory, descriptors }: Pick<TelemetryOptions, "memory" | "descriptors">,
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
  { stdout, now }: Pick<TelemetryOptions, "stdout" | "now">,
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
