import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { errorOf, isConnectionCode } from "../connection-faults.ts";
import { listenError } from "../listen.ts";
import type { Limits } from "../limits/limits.ts";
import type { AccessLog } from "../observe/access-log.ts";
import { FaultLog } from "../observe/fault-log.ts";
import { PauseLog } from "../observe/pause-log.ts";
import { planFor, type RoutePlan } from "../plan.ts";
import type { ProxyEngine } from "../proxy-engine.ts";
import { type Lookup, Names } from "../names.ts";
import type { EndedEvent, EngineEvent, FaultEvent, NativeEngine } from "./addon.ts";
import { openingOf, type RuleNumbers } from "./openings.ts";

export interface NativeProxyOptions {
  readonly engine: NativeEngine;
  readonly numbers: RuleNumbers;
  readonly limits: Limits;
  readonly accessLog: AccessLog | undefined;
  readonly log: Logger;
  readonly lookup: Lookup;
  readonly now: () => Date;
  /** Is told of each rule that a route has, so that its counters are there, at zero, before the first connection. */
  readonly expect: (direction: RoutePlan["direction"], rule: string) => void;
}

interface OpenRoute {
  readonly plan: RoutePlan;
  readonly id: number;
  readonly log: Logger;
  readonly faults: FaultLog;
}

/** The listeners of all routes, in the native engine. */
export class NativeProxy implements ProxyEngine {
  readonly #options: NativeProxyOptions;
  readonly #names: Names;
  readonly #routes = new Map<number, OpenRoute>();
  readonly #pauses = new PauseLog();
  #hasEnded = false;

  constructor(options: NativeProxyOptions) {
    this.#options = options;
    this.#names = new Names(options.lookup, options.now);
  }

  async open(plans: readonly RoutePlan[]): Promise<void> {
    const { engine, numbers } = this.#options;
    for (const plan of plans) {
      const log = this.#options.log.child({ route: plan.name, listener: formatEndpoint(plan.at) });
      const id = this.#listen(plan, () => engine.open(openingOf(plan, numbers)).id);
      this.#routes.set(id, { plan, id, log, faults: new FaultLog(log) });
      for (const rule of rulesOf(plan)) this.#options.expect(plan.direction, rule);
    }
  }

  #listen(plan: RoutePlan, open: () => number): number {
    try {
      return open();
    } catch (error) {
      throw listenError(plan.at, error as Error);
    }
  }

  stopIngress(): void {
    this.#stop("ingress");
  }

  #stop(direction: RoutePlan["direction"]): void {
    if (this.#hasEnded) return;
    for (const { plan, id } of this.#routes.values()) {
      if (plan.direction === direction) this.#options.engine.stop(id);
    }
  }

  async close(graceMs: number, atOnce?: AbortSignal): Promise<boolean> {
    if (this.#hasEnded) return true;
    const { engine } = this.#options;
    this.stopIngress();
    const isDrained = await this.#idle(graceMs, atOnce);
    this.#stop("egress");
    engine.resetAll();
    if (!isDrained) await this.#idle(RESET_MS);
    this.take();
    this.#hasEnded = true;
    engine.exit();
    return isDrained;
  }

  /** @returns whether no connection is left */
  async #idle(ms: number, atOnce?: AbortSignal): Promise<boolean> {
    const { engine } = this.#options;
    for (let waited = 0; engine.counts().some(({ open }) => open > 0); waited += LOOK_MS) {
      if (waited >= ms || atOnce?.aborted === true) return false;
      await sleep(LOOK_MS, undefined, { signal: atOnce }).catch(() => {});
    }
    return true;
  }

  shed(bytes: number): void {
    if (!this.#hasEnded) this.#options.engine.shed(bytes);
  }

  /** Takes what the engine has to say. It is called when there is something. */
  take(): void {
    if (this.#hasEnded) return;
    for (const event of this.#options.engine.takeEvents()) {
      const route = this.#routes.get(event.route);
      if (route === undefined) continue;
      try {
        this.#note(event, route);
      } catch (error) {
        // One event must not hide those that follow.
        route.log.error({ code: "internal", got: describeError(error) }, "an event of the engine could not be told");
      }
    }
  }

  #note(event: EngineEvent, route: OpenRoute): void {
    switch (event.kind) {
      case "lookup":
        void this.#lookUp(route);
        return;
      case "fault":
        this.#say(event, route);
        return;
      case "ended":
        this.#write(event, route);
        return;
      case "paused":
        this.#pauses.tell(route.log);
        return;
      case "notAccepted":
        route.log.warn({ code: "accept", got: event.got }, "can't accept a connection");
    }
  }

  async #lookUp({ id, plan: { target } }: OpenRoute): Promise<void> {
    if ("own" in target) return;
    const { engine } = this.#options;
    const { port } = target;
    try {
      const addresses = await this.#names.addresses(target.host);
      const texts = addresses.map(({ address }) => formatEndpoint({ host: address, port }));
      if (!this.#hasEnded) engine.setAddresses(id, texts);
    } catch (error) {
      const why = error instanceof Error && "code" in error ? String(error.code) : String(error);
      if (!this.#hasEnded) engine.setAddresses(id, [], why);
    }
  }

  #say({ code, got, certificate, local = "?", peer = "?", source }: FaultEvent, { plan, faults }: OpenRoute): void {
    const names =
      certificate === undefined ? undefined : (new X509Certificate(certificate).subjectAltName ?? "no name");
    const about = { plan, local, port: portOf(local), limits: this.#options.limits };
    const error = isConnectionCode(code) ? errorOf({ code, got: names ?? got }, about) : new Error(got);
    faults.say(error, { peer, source });
  }

  #write(event: EndedEvent, { plan }: OpenRoute): void {
    const { peer = "?", local = "?", upstream, tls, certificate, up, down, millis, outcome, code, wasJoined } = event;
    // A connection over a limit has no line.
    const names = certificate === undefined ? undefined : new X509Certificate(certificate).subjectAltName;
    const joined = { upstream: upstream ?? "?", names: names?.split(", ") ?? [], tls: tlsFacts(tls, plan) };
    this.#options.accessLog?.write({
      direction: plan.direction,
      rule: planFor(plan, portOf(local)).rule,
      listener: local,
      peer,
      ...(wasJoined ? joined : {}),
      up,
      down,
      durationMs: millis,
      outcome,
      reason: code ?? null,
    });
  }
}

/** How long a reset may take; it does not wait for the peer. */
const RESET_MS = 200;

/** How often to look whether a connection is left. */
const LOOK_MS = 10;

function rulesOf(plan: RoutePlan): readonly string[] {
  const { at, target, ports, otherwise } = plan;
  if (!("own" in target)) return [planFor(plan, at.port).rule];
  return [...ports.values(), otherwise].map(({ rule }) => rule);
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

function tlsFacts(tls: EndedEvent["tls"], { direction }: RoutePlan) {
  if (tls === undefined) return null;
  const { version, cipher, group, resumed } = tls;
  return { version, cipher, ...(direction === "egress" && group !== undefined ? { group } : {}), resumed };
}
