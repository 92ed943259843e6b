import type { Writable } from "node:stream";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { VERSION } from "../runtime/version.ts";
import { AccessLog } from "./observe/access-log.ts";
import { Admission } from "./limits/admission.ts";
import type { MeshProxyConfiguration } from "./configuration.ts";
import { forConnections } from "./base/descriptors.ts";
import { limitsOf } from "./limits/limits.ts";
import { MemoryWatch } from "./limits/memory-watch.ts";
import { Metrics, type Observed } from "./observe/metrics.ts";
import type { Route } from "./route.ts";
import type { MemoryOf } from "./limits/socket-memory.ts";

/** What limits and observes all connections. */
export interface Telemetry {
  readonly admission: Admission;
  readonly metrics: Metrics;
  readonly accessLog: AccessLog | undefined;
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
  const { credentials, descriptors, stdout, now, clock } = options;
  const { memory, memoryInUse: inUse, memoryOf } = options;
  const limits = limitsOf(configuration, {
    memory,
    descriptors: forConnections(descriptors),
    hasIngress: configuration.CONTRAST_INGRESS_PROXY_CONFIG !== undefined,
    egressRules: configuration.CONTRAST_EGRESS_PROXY_CONFIG.length,
  });
  const admission = new Admission(limits, clock);
  const accessLog = configuration.CONTRAST_ACCESS_LOG === "1" ? new AccessLog(stdout, now) : undefined;
  const metrics = new Metrics({ admission, credentials, accessLog, startedAt: now() });
  return { admission, metrics, accessLog, clock, memory: new MemoryWatch({ inUse, memoryOf, limit: memory }) };
}

/** What `/config` shows. No variable of the proxy is a secret; keys are in files. */
export function inEffect(
  configuration: MeshProxyConfiguration,
  routes: readonly Route[],
  { admission }: Telemetry,
): unknown {
  return {
    version: VERSION,
    listeners: routes.map(({ name, at, to }) => ({ name, at: formatEndpoint(at), to })),
    limits: admission.limits,
    variables: configuration,
  };
}
