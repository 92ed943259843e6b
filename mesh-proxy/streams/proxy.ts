import { setTimeout as sleep } from "node:timers/promises";
import type { Socket } from "node:net";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { Logger } from "../../runtime/log.ts";
import { Connections } from "./connection.ts";
import type { DataPath } from "./carry/data-path.ts";
import type { Descriptors } from "../limits/descriptors.ts";
import { reason } from "../faults.ts";
import { Listener } from "./listener.ts";
import type { RoutePlan } from "../plan.ts";
import type { ProxyEngine } from "../proxy-engine.ts";
import type { Route } from "./route.ts";
import type { Telemetry } from "../telemetry.ts";

export interface ProxyOptions {
  readonly log: Logger;
  readonly descriptors: Descriptors;
  readonly telemetry: Telemetry;
  readonly dataPath: DataPath;
  readonly routesOf: (plans: readonly RoutePlan[]) => Route[];
}

/** The listeners of all routes, in the engine `streams`. */
export class Proxy implements ProxyEngine {
  readonly #routes: {
    readonly direction: Route["direction"];
    readonly listener: Listener;
    readonly connections: Connections;
  }[] = [];
  readonly #options: ProxyOptions;
  /** Connections that were accepted and have not ended yet, on both sides. */
  #open = 0;
  #becameIdle = (): void => {};
  #hasToldOfPause = false;

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  async open(plans: readonly RoutePlan[]): Promise<void> {
    const { descriptors, telemetry, dataPath, routesOf } = this.#options;
    for (const route of routesOf(plans)) {
      const log = this.#options.log.child({ route: route.name, listener: formatEndpoint(route.at) });
      const connections = new Connections(route, { telemetry, dataPath, log });
      const listener = await Listener.open({
        at: route.at,
        allowHalfOpen: route.allowHalfOpen,
        accept: (transport) => this.#serve(connections, transport),
        failed: (error) => log.warn({ code: "accept", got: reason(error) }, "can't accept a connection"),
        descriptors,
        paused: () => this.#tellOfPause(log),
      });
      this.#routes.push({ direction: route.direction, listener, connections });
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

  /** Once a minute at most: listeners may go on and stop again many times a second. */
  #tellOfPause(log: Logger): void {
    if (this.#hasToldOfPause) return;
    this.#hasToldOfPause = true;
    setTimeout(() => (this.#hasToldOfPause = false), 60_000).unref();
    log.warn({ code: "descriptors", hint: RAISE }, "new connections wait: no file descriptors are left");
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

const RAISE = "raise the limit of open files (RLIMIT_NOFILE), two for each connection, or the number of replicas";

/** How long a reset may take; it does not wait for the peer. */
const RESET_MS = 200;
