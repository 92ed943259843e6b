import type { Socket } from "node:net";
import type { MeshProxyConfiguration } from "../configuration.ts";
import { accessLogFor, limitsFor, type Observation } from "../observation.ts";
import { Metrics } from "../observe/metrics.ts";
import type { EngineOptions } from "../proxy-engine.ts";
import { RuleMetrics } from "./counts.ts";
import { Admission } from "./limits/admission.ts";
import { MemoryWatch } from "./limits/memory-watch.ts";

/** What limits and observes all connections of this engine. */
export interface Telemetry extends Observation {
  readonly admission: Admission;
  readonly metrics: Metrics<RuleMetrics>;
  readonly memory: MemoryWatch;
  /** Milliseconds since whenever; never goes back. */
  readonly clock: () => number;
}

/** @param bytesHeld by the kernel, for a socket */
export function createTelemetry(
  configuration: MeshProxyConfiguration,
  options: EngineOptions,
  bytesHeld: (socket: Socket) => number,
): Telemetry {
  const { credentials, now, clock } = options;
  const admission = new Admission(limitsFor(configuration, "streams", options), clock);
  const accessLog = accessLogFor(configuration, options);
  const observed = { engine: "streams", admission, credentials, accessLog, startedAt: now() } as const;
  const metrics = new Metrics(observed, (direction, name) => new RuleMetrics(direction, name));
  return { admission, metrics, accessLog, memory: new MemoryWatch(bytesHeld), clock };
}
