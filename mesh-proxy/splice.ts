import type { Socket } from "node:net";
import { MeshProxyError, reason } from "./errors.ts";
import { type Leg, type Legs, reset } from "./leg.ts";
import { type Carried, publicWay, pump, type Way } from "./pump.ts";

/**
 * Joins two connections: what comes in on one goes out on the other, unchanged and in order. Each direction ends by
 * itself, after its last byte. If one connection breaks, the other one is reset.
 *
 * The end of TCP under TLS without the peer's closing alert is no end: close-notify.ts makes it an error of the stream.
 */

let way: Way = publicWay;

/** How connections that are joined from now on are read and written. The program says so once, before the first one. */
export function carryBy(other: Way): void {
  way = other;
}

/**
 * @param carried is counted up
 * @returns when both connections have ended cleanly
 * @throws MeshProxyError `connection_broken` or `tls_alert` when one broke; the other one is then ended too
 */
export async function splice({ near, far }: Legs, carried: Carried = { up: 0, down: 0 }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let open = 2;
  const join = (leg: Leg, other: Leg, side: string): void => {
    leg.stream.on("error", (error) => broke(leg, other, side, error));
    leg.stream.on("close", () => {
      if (!(leg.stream.readableEnded && leg.stream.writableFinished)) broke(leg, other, side, new Error("closed"));
      else if (--open === 0) resolve();
    });
  };
  const broke = (leg: Leg, other: Leg, side: string, error: Error): void => {
    reset(leg);
    // A peer that said all it had to say and then went away: what it said still has to arrive.
    if (leg.stream.readableEnded) destroyWhenWritten(other.stream);
    else reset(other);
    const got = reason(error);
    const code = got.startsWith("ERR_SSL_") ? "tls_alert" : "connection_broken";
    reject(new MeshProxyError(code, `the connection to the ${side} broke`, { got, cause: error }));
  };
  join(near, far, "client");
  join(far, near, "upstream");
  if (near.stream.destroyed) broke(near, far, "client", new Error("closed"));
  if (far.stream.destroyed) broke(far, near, "upstream", new Error("closed"));
  pump({ source: near.stream, sink: far.stream, way, carried, direction: "up" });
  pump({ source: far.stream, sink: near.stream, way, carried, direction: "down" });
  near.stream.resume();
  far.stream.resume();
  return promise;
}

/** The pump ends a sink when all is written. */
function destroyWhenWritten(sink: Socket): void {
  if (sink.writableFinished) sink.destroy();
  else sink.once("finish", () => sink.destroy());
}
