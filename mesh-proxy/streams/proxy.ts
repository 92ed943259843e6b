import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { Logger } from "../../runtime/log.ts";
import { reason } from "../faults.ts";
import { PauseLog } from "../observe/pause-log.ts";
import type { RoutePlan } from "../plan.ts";
import type { ProxyEngine } from "../proxy-engine.ts";
import type { Splicer } from "./carry/splicer.ts";
import { Connections } from "./connections.ts";
import type { Kernel } from "./kernel.ts";
import { Listener } from "./listener.ts";
import type { Route } from "./route.ts";
import type { Telemetry } from "./telemetry.ts";

export interface ProxyOptions {
  readonly log: Logger;
  /** For connections; Infinity: any number. */
  readonly descriptors: number;
  readonly duplicate: Kernel["duplicate"];
  readonly telemetry: Telemetry;
  readonly splicer: Splicer;
  readonly routesOf: (plans: readonly RoutePlan[]) => Route[];
}

/** The listeners of all routes, on Node's streams. */
export class StreamsProxy implements ProxyEngine {
  readonly #routes: {
    readonly direction: RoutePlan["direction"];
    readonly listener: Listener;
    readonly connections: Connections;
  }[] = [];
  readonly #options: ProxyOptions;
  /** Connections that were accepted and have not ended yet, on both sides. */
  #open = 0;
  #becameIdle = (): void => {};
  readonly #pauses = new PauseLog();

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  async open(plans: readonly RoutePlan[]): Promise<void> {
    const { descriptors, duplicate, telemetry, splicer, routesOf } = this.#options;
    for (const route of routesOf(plans)) {
      const { name, at, direction } = route.plan;
      const log = this.#options.log.child({ route: name, listener: formatEndpoint(at) });
      const connections = new Connections(route, { telemetry, splicer, log });
      const listener = await Listener.open({
        at,
        accept: (transport) => this.#serve(connections, transport),
        failed: (error) => log.warn({ code: "accept", got: reason(error) }, "can't accept a connection"),
        descriptors,
        duplicate,
        paused: () => this.#pauses.tell(log),
      });
      this.#routes.push({ direction, listener, connections });
    }
  }

  stopIngress(): void {
    for (const { direction, listener } of this.#routes) if (direction === "ingress") listener.stop();
  }

  async close(graceMs: number, atOnce?: AbortSignal): Promise<boolean> {
    this.stopIngress();
    const idle = this.#idle();
    const isDrained = await Promise.race([
      idle,
      sleep(graceMs, false, { ref: false, signal: atOnce }).catch(() => false),
    ]);
    for (const { direction, listener, connections } of this.#routes) {
      if (direction === "egress") listener.stop();
      connections.resetAll();
    }
    // The other legs are reset when the first ones have closed.
    if (!isDrained) await Promise.race([idle, sleep(RESET_MS, undefined, { ref: false })]);
    return isDrained;
  }

  async #idle(): Promise<true> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#becameIdle = resolve;
    if (this.#open > 0) await promise;
    return true;
  }

  #serve(connections: Connections, transport: Socket): void {
    this.#open++;
    connections.serve(transport, this.#ended);
  }

  readonly #ended = (): void => {
    if (--this.#open === 0) this.#becameIdle();
  };
}

/** How long a reset may take; it does not wait for the peer. */
const RESET_MS = 200;
