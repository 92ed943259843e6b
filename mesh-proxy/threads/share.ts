import type { GateLimits } from "../../runtime/gate.ts";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { MeshProxyConfiguration } from "../configuration.ts";
import { newCounters, type SharedCounters } from "./shared-places.ts";

/** What one thread has of the limits: connections are counted together; of the handshakes each has a part for itself. */
export interface ThreadShare {
  /** From 0, of `threads`. */
  readonly index: number;
  readonly threads: number;
  readonly ingress: SharedCounters;
  /** Of each listener. */
  readonly egress: ReadonlyMap<string, SharedCounters>;
}

/** @returns the share of the first thread; those of others differ by the index */
export function shareLimits(threads: number, configuration: MeshProxyConfiguration): ThreadShare {
  const listeners = configuration.CONTRAST_EGRESS_PROXY_CONFIG.map(({ listen }) => formatEndpoint(listen));
  return {
    index: 0,
    threads,
    ingress: newCounters(),
    // The application is the only source.
    egress: new Map(listeners.map((listener) => [listener, newCounters(1)])),
  };
}

/** The parts of all threads add up to the limit. A connection stays with its thread, and waits for its turn there. */
export function partOf(limits: GateLimits, { index, threads }: Pick<ThreadShare, "index" | "threads">): GateLimits {
  const part = (limit: number): number => Math.floor((limit + threads - 1 - index) / threads);
  return { ...limits, total: part(limits.total), perPeer: part(limits.perPeer) };
}
