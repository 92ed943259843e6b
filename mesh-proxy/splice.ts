import type { Socket } from "node:net";
import { MeshProxyError, reason } from "./errors.ts";
import { type Leg, type Legs, reset } from "./leg.ts";

/**
 * Joins two connections: what comes in on one goes out on the other, unchanged and in order. Each direction ends by
 * itself, after its last byte. If one connection breaks, the other one is reset.
 *
 * A known limit: Node reports the end of TCP under TLS like the peer's closing alert (RFC 8446 §6.1). Who controls the
 * network can therefore cut a direction short between two records, and it looks like its end. Protocols that say how
 * long a message is notice.
 */

/** A source is paused while more bytes than this wait for the sink; one read more may come on top. */
export const MOST_WAITING = 256 * 1024;

/**
 * @returns when both connections have ended cleanly
 * @throws MeshProxyError `connection_broken` or `tls_alert` when one broke; the other one is then ended too
 */
export async function splice({ near, far }: Legs): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let open = 2;
  const join = (leg: Leg, other: Leg, side: string): void => {
    leg.stream.on("error", (error) => broke(leg, other, side, error));
    leg.stream.once("close", () => {
      if (!(leg.stream.readableEnded && leg.stream.writableFinished)) broke(leg, other, side, new Error("closed"));
      else if (--open === 0) resolve();
    });
  };
  const broke = (leg: Leg, other: Leg, side: string, error: Error): void => {
    reset(leg);
    // A peer that said all it had to say and then went away: what it said still has to arrive.
    if (leg.stream.readableEnded) other.stream.destroySoon();
    else reset(other);
    const got = reason(error);
    const code = got.startsWith("ERR_SSL_") ? "tls_alert" : "connection_broken";
    reject(new MeshProxyError(code, `the connection to the ${side} broke`, { got, cause: error }));
  };
  join(near, far, "client");
  join(far, near, "upstream");
  if (near.stream.destroyed) broke(near, far, "client", new Error("closed"));
  if (far.stream.destroyed) broke(far, near, "upstream", new Error("closed"));
  pump(near.stream, far.stream);
  pump(far.stream, near.stream);
  return promise;
}

function pump(source: Socket, sink: Socket): void {
  source.on("data", (chunk) => {
    sink.write(chunk);
    if (sink.writableLength > MOST_WAITING) {
      source.pause();
      sink.once("drain", () => source.resume());
    }
  });
  const end = (): void => void sink.end();
  if (source.readableEnded) end();
  else source.once("end", end);
  source.resume();
}
