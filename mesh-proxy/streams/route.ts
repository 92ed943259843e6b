import type { Socket } from "node:net";
import type { Direction } from "../direction.ts";
import type { Legs } from "./leg.ts";
import type { ListenAddress } from "./listener.ts";

/** TLS handshakes of one connection. */
export interface Handshakes {
  /** Who the connection is counted for. */
  readonly source: string;
  /** Runs one: when it may, and with an eye on the time it takes. */
  readonly run: <T>(handshake: () => Promise<T>) => Promise<T>;
}

/** One place that connections come in at, and what is done with them. */
export interface Route {
  readonly direction: Direction;
  /** For the log: direction, rule and TLS. */
  readonly name: string;
  readonly at: ListenAddress;
  /** For the log. */
  readonly to: string;
  readonly allowHalfOpen: boolean;
  /** The name of the rule that is about a connection to this port. */
  readonly ruleOf: (port: number) => string;
  /** Takes a connection to where it has to go. Throws MeshProxyError where it is refused. */
  readonly connect: (transport: Socket, handshakes: Handshakes) => Promise<Legs>;
}
