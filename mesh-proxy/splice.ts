import type { Socket } from "node:net";
import { MeshProxyError, reason } from "./errors.ts";
import { type Leg, type Legs, reset } from "./leg.ts";
import { type Carried, publicWay, Pump, type Way } from "./pump.ts";

let way: Way = publicWay;

/** How connections that are joined from now on are read and written. The program says so once, before the first one. */
export function carryBy(other: Way): void {
  way = other;
}

/** Of the peer that a leg leads to. */
type Side = "client" | "upstream";

export interface SpliceOptions {
  /** Is counted up. */
  readonly carried: Carried;
  /**
   * Called once: both connections have ended cleanly, or with `connection_broken` or `tls_alert` one broke, and the other
   * one is ended too.
   */
  readonly ended: (error?: MeshProxyError) => void;
}

/**
 * Joins two connections: what comes in on one goes out on the other, unchanged and in order. Each direction ends by
 * itself, after its last byte. If one connection breaks, the other one is reset.
 *
 * The end of TCP under TLS without the peer's closing alert is no end: close-notify.ts makes it an error of the stream.
 */
export class Splice {
  readonly #up: Pump;
  readonly #down: Pump;
  readonly #ended: SpliceOptions["ended"];
  #open = 2;

  constructor({ near, far }: Legs, { carried, ended }: SpliceOptions) {
    this.#ended = ended;
    near.stream.on("error", (error) => this.#broke(near, far, "client", error));
    far.stream.on("error", (error) => this.#broke(far, near, "upstream", error));
    near.stream.on("close", () => this.#closed(near, far, "client"));
    far.stream.on("close", () => this.#closed(far, near, "upstream"));
    if (near.stream.destroyed) this.#broke(near, far, "client", new Error("closed"));
    if (far.stream.destroyed) this.#broke(far, near, "upstream", new Error("closed"));
    this.#up = new Pump({ source: near.stream, sink: far.stream, way, carried, direction: "up" });
    this.#down = new Pump({ source: far.stream, sink: near.stream, way, carried, direction: "down" });
    near.stream.resume();
    far.stream.resume();
  }

  /** How many bytes wait for peers to take them. */
  get waiting(): number {
    return this.#up.waiting + this.#down.waiting;
  }

  #closed(leg: Leg, other: Leg, side: Side): void {
    const { readableEnded, writableFinished } = leg.stream;
    if (!readableEnded || !writableFinished) this.#broke(leg, other, side, new Error("closed"));
    else if (--this.#open === 0) this.#ended();
  }

  #broke(leg: Leg, other: Leg, side: Side, error: Error): void {
    reset(leg);
    // A peer that said all it had to say and then went away: what it said still has to arrive.
    if (leg.stream.readableEnded) destroyWhenWritten(other.stream);
    else reset(other);
    if (this.#open < 0) return;
    // It is said once.
    this.#open = -1;
    const got = reason(error);
    const code = got.startsWith("ERR_SSL_") ? "tls_alert" : "connection_broken";
    this.#ended(new MeshProxyError(code, `the connection to the ${side} broke`, { got, cause: error }));
  }
}

/** The pump ends a sink when all is written. */
function destroyWhenWritten(sink: Socket): void {
  if (sink.writableFinished) sink.destroy();
  else sink.once("finish", () => sink.destroy());
}
