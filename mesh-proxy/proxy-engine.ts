import type { Writable } from "node:stream";
import type { Logger } from "../runtime/log.ts";
import type { CurrentCredentials } from "./credentials/current-credentials.ts";
import type { Lookup } from "./names.ts";
import type { Observation, Resources } from "./observation.ts";
import type { Observed } from "./observe/metrics.ts";
import type { RoutePlan } from "./plan.ts";

/** What serves connections: the native engine, or Node's streams. Both look the same from outside. */
export interface ProxyEngine {
  /** @throws MeshProxyError `listen` */
  open(plans: readonly RoutePlan[]): Promise<void>;
  /**
   * Accepts no more connections from outside. Those of the application are still served: it may need them to finish what
   * it has begun.
   */
  stopIngress(): void;
  /**
   * Stops the ingress, and ends when no connection is left; what is left when the time is over, or when `atOnce` fires, is
   * reset.
   *
   * @returns whether all connections ended by themselves
   */
  close(graceMs: number, atOnce?: AbortSignal): Promise<boolean>;
}

/** An engine that was started, and what is seen of it. */
export interface StartedEngine<Seen extends Observation = Observation> {
  readonly proxy: ProxyEngine;
  readonly observation: Seen;
}

/** What an engine needs of the world outside the configuration. */
export interface EngineOptions extends Resources {
  readonly credentials: CurrentCredentials & Observed["credentials"];
  /** Of `memory`, what is in use, as of `memoryInUse`. */
  readonly memoryInUse: () => number | undefined;
  readonly stdout: Writable;
  readonly log: Logger;
  readonly lookup: Lookup;
  readonly now: () => Date;
  /** Milliseconds since whenever; never goes back. */
  readonly clock: () => number;
}
