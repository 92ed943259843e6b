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
