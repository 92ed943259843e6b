import type { LookupAddress } from "node:dns";
import { connect, type Socket } from "node:net";
import { type Endpoint, formatEndpoint } from "../mesh-rules/endpoint.ts";
import { MeshProxyError, reason } from "./errors.ts";
import { DEADLINE_MS, tuneTransport, whileWaited } from "./leg.ts";
import type { Names } from "./names.ts";

/**
 * Connections to a host that may have many addresses, some of which may not answer (RFC 8305): one address after the
 * other, each a little later than the one before, and the first that answers wins. Node's own way (`autoSelectFamily`)
 * gives up an address before it tries the next one: one that is slow, not dead, is then never reached.
 */

/** RFC 8305 §8: the Connection Attempt Delay. */
const ATTEMPT_DELAY_MS = 250;

/**
 * Connects to where `near`, the connection that the proxy accepted, has to go.
 *
 * @throws MeshProxyError `upstream_refused`, `upstream_timeout` or `client_gone`
 */
export async function dial(to: Endpoint, near: Socket, names: Names): Promise<Socket> {
  const where = formatEndpoint(to);
  const stop = new AbortController();
  const late = (): MeshProxyError =>
    new MeshProxyError("upstream_timeout", "the upstream does not answer", {
      where,
      got: `nothing for ${DEADLINE_MS} ms`,
    });
  const attempt = async (): Promise<Socket> => {
    try {
      return await fastest(interleave(await names.addresses(to.host)), to.port, stop.signal);
    } catch (error) {
      throw new MeshProxyError("upstream_refused", "can't connect to the upstream", {
        where,
        got: reason(error as Error),
        hint: "does it listen there, and does its name resolve to it?",
        cause: error,
      });
    }
  };
  try {
    return await whileWaited(near, late, attempt());
  } catch (error) {
    stop.abort();
    throw error;
  }
}

/**
 * The first connection that is made. All others are closed, all of them where `stop` fires.
 *
 * @throws the error of the address that failed last
 */
async function fastest(addresses: readonly string[], port: number, stop: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const waiting = [...addresses];
  const attempts = new Set<Socket>();
  let timer: NodeJS.Timeout | undefined;
  const next = (): void => {
    clearTimeout(timer);
    const host = waiting.shift();
    if (host === undefined) return;
    const socket = connect({ host, port, allowHalfOpen: true });
    attempts.add(socket);
    socket.once("connect", () => {
      attempts.delete(socket);
      tuneTransport(socket);
      resolve(socket);
    });
    // The listener stays: an error that comes after this function must not end the process.
    socket.on("error", (error) => {
      if (!attempts.delete(socket)) return;
      if (attempts.size + waiting.length === 0) reject(error);
      else next();
    });
    if (waiting.length > 0) timer = setTimeout(next, ATTEMPT_DELAY_MS);
  };
  const giveUp = (): void => reject(new Error("given up"));
  stop.addEventListener("abort", giveUp, { once: true });
  if (stop.aborted || waiting.length === 0) reject(new Error("no address"));
  else next();
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", giveUp);
    for (const socket of attempts) socket.destroy();
    attempts.clear();
  }
}

/** RFC 8305 §4: the families in turn, each in the order of the answer. */
function interleave(addresses: readonly LookupAddress[]): string[] {
  const [first] = addresses;
  const isPreferred = ({ family }: LookupAddress): boolean => family === first?.family;
  const preferred = addresses.filter(isPreferred);
  const others = addresses.filter((address) => !isPreferred(address));
  return addresses
    .flatMap((_, index) => [preferred[index], others[index]])
    .filter((address) => address !== undefined)
    .map(({ address }) => address);
}
