import type { Socket } from "node:net";
import type { RoutePlan } from "../plan.ts";
import type { Legs } from "./leg.ts";

/** Runs the TLS handshake of one connection: when it may, and with an eye on the time it takes. */
export interface Handshakes {
  readonly run: <T>(handshake: () => Promise<T>) => Promise<T>;
}

/** One place that connections come in at, and what is done with them. */
export interface Route {
  readonly plan: RoutePlan;
  /** Takes a connection to where it has to go. Throws ConnectionFault where it is refused. */
  readonly connect: (transport: Socket, handshakes: Handshakes) => Promise<Legs>;
}
