import type { Writable } from "node:stream";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { VERSION } from "../runtime/version.ts";
import { AccessLog } from "./access-log.ts";
import { Admission } from "./admission.ts";
import type { MeshProxyConfiguration } from "./configuration.ts";
import { forConnections } from "./descriptors.ts";
import { limitsOf } from "./limits.ts";
import { Metrics, type Observed } from "./metrics.ts";
import type { Route } from "./proxy.ts";
import type { ThreadShare } from "./threads/share.ts";

/** What watches over all connections. */
export interface Watch {
  readonly admission: Admission;
  readonly metrics: Metrics;
  readonly accessLog: AccessLog | undefined;
  /** Milliseconds since whenever; never goes back. */
  readonly clock: () => number;
}

export interface WatchOptions {
  readonly credentials: Observed["credentials"];
  /** How many descriptors the process may have; undefined: any number. */
  readonly descriptors: number | undefined;
  readonly stdout: Writable;
  readonly now: () => Date;
  readonly clock: () => number;
  /** Undefined: there is no other thread. */
  readonly share?: ThreadShare | undefined;
}

export function createWatch(configuration: MeshProxyConfiguration, options: WatchOptions): Watch {
  const { credentials, descriptors, stdout, now, clock, share } = options;
  const limits = limitsOf(configuration, {
    descriptors: forConnections(descriptors),
    hasIngress: configuration.CONTRAST_INGRESS_PROXY_CONFIG !== undefined,
    egressRules: configuration.CONTRAST_EGRESS_PROXY_CONFIG.length,
  });
  const admission = new Admission(limits, share);
  const accessLog = configuration.CONTRAST_ACCESS_LOG === "1" ? new AccessLog(stdout, now) : undefined;
  return { admission, metrics: new Metrics({ admission, credentials, accessLog, startedAt: now() }), accessLog, clock };
}

/** What `/config` shows. No variable of the proxy is a secret; keys are in files. */
export function inEffect(
  configuration: MeshProxyConfiguration,
  routes: readonly Route[],
  { admission }: Watch,
): unknown {
  return {
    version: VERSION,
    listeners: routes.map(({ name, at, to }) => ({ name, at: formatEndpoint(at), to })),
    limits: admission.limits,
    variables: configuration,
  };
}
