import type { Socket } from "node:net";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { Logger } from "../../runtime/log.ts";
import { sourceOf } from "../../runtime/source.ts";
import { errorOf } from "../connection-faults.ts";
import { FaultLog } from "../observe/fault-log.ts";
import { planFor } from "../plan.ts";
import type { Splicer } from "./carry/splicer.ts";
import { type Accepted, Connection, type OfRoute } from "./connection.ts";
import { ConnectionFault } from "./fault.ts";
import { plainLeg, reset } from "./leg.ts";
import type { Route } from "./route.ts";
import type { Telemetry } from "./telemetry.ts";

export interface ConnectionsOptions {
  readonly telemetry: Telemetry;
  readonly splicer: Splicer;
  readonly log: Logger;
}

/** The connections of one route: limited, counted and logged. */
export class Connections implements OfRoute {
  readonly route: Route;
  readonly telemetry: Telemetry;
  readonly splicer: Splicer;
  readonly #faults: FaultLog;
  readonly #open = new Set<Connection>();

  constructor(route: Route, { telemetry, splicer, log }: ConnectionsOptions) {
    this.route = route;
    this.telemetry = telemetry;
    this.splicer = splicer;
    this.#faults = new FaultLog(log);
    const { plan } = route;
    // So that its counters are there, at zero, before the first connection.
    telemetry.metrics.rule(plan.direction, planFor(plan, plan.at.port).rule);
  }

  /**
   * Never throws: no connection may touch another one.
   *
   * @param ended called when nothing of it is left
   */
  serve(transport: Socket, ended: () => void): void {
    const { plan } = this.route;
    const { direction } = plan;
    const { admission, metrics } = this.telemetry;
    // Now, because a connection that is gone can't say any more where it came from, and where it went.
    const { remoteAddress, remotePort = 0, localAddress = "?", localPort = 0 } = transport;
    const peer = formatEndpoint({ host: remoteAddress ?? "?", port: remotePort });
    const local = formatEndpoint({ host: localAddress, port: localPort });
    // Egress has one: the application.
    const source = direction === "ingress" && remoteAddress !== undefined ? sourceOf(remoteAddress) : "";
    // The kernel leaves a redirected connection the port that it was made to.
    const { rule } = planFor(plan, localPort);
    const counts = metrics.rule(direction, rule);
    const accepted = { transport, source, peer, local, port: localPort, rule, counts };
    const connection = new Connection(this, accepted);
    let leave: () => void;
    try {
      leave = admission.enter(direction, formatEndpoint(plan.at), source, connection);
    } catch (error) {
      reset(plainLeg(transport));
      counts.end("refused", this.say(error, accepted));
      ended();
      return;
    }
    this.#open.add(connection);
    void connection.begin(leave, () => {
      this.#open.delete(connection);
      ended();
    });
  }

  resetAll(): void {
    for (const connection of this.#open) connection.stop();
  }

  say(error: unknown, { peer, source, local, port }: Accepted): string {
    const { limits } = this.telemetry.admission;
    const about = { plan: this.route.plan, local, port, limits };
    return this.#faults.say(error instanceof ConnectionFault ? errorOf(error, about) : error, { peer, source });
  }
}
