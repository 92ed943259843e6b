import type { LookupAddress } from "node:dns";
import { connect, type Socket } from "node:net";
import type { Endpoint } from "../../mesh-rules/endpoint.ts";
import { reason } from "../faults.ts";
import type { Names } from "../names.ts";
import { ConnectionFault } from "./fault.ts";
import { ignore, READ_AHEAD, tuneTransport, whileWaited } from "./tcp.ts";

/**
 * Connections to a host that may have many addresses, some of which may not answer (RFC 8305): one address after the
 * other, each a little later than the one before, and the first that answers wins. Node's own way (`autoSelectFamily`)
 * gives up an address before it tries the next one: one that is slow, not dead, is then never reached.
 */

/** RFC 8305 §8: the Connection Attempt Delay. */
const ATTEMPT_DELAY_MS = 250;

/**
 * Connects to where `downstream`, the connection that the proxy accepted, has to go.
 *
 * @throws ConnectionFault `upstream_refused`, `upstream_timeout` or `client_gone`
 */
export async function dial(to: Endpoint, downstream: Socket, names: Names): Promise<Socket> {
  const late = (): ConnectionFault => new ConnectionFault("upstream_timeout");
  const race = new Race(to.port);
  try {
    return await whileWaited(downstream, late, race.winner(names.addresses(to.host)));
  } catch (error) {
    if (error instanceof ConnectionFault) throw error;
    throw new ConnectionFault("upstream_refused", reason(error as Error));
  } finally {
    race.end();
  }
}

/** The attempts to connect to the addresses of one host. */
class Race {
  readonly #port: number;
  readonly #result = Promise.withResolvers<Socket>();
  readonly #running = new Set<Socket>();
  #waiting: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(port: number) {
    this.#port = port;
  }

  /** @throws the error of the address that failed last */
  async winner(addresses: Promise<readonly LookupAddress[]>): Promise<Socket> {
    this.#waiting = interleave(await addresses);
    if (this.#waiting.length === 0) throw new Error("no address");
    this.#next();
    return this.#result.promise;
  }

  /** Closes all connections but the winner. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    for (const socket of this.#running) socket.destroy();
  }

  #next(): void {
    clearTimeout(this.#timer);
    const host = this.#isOver ? undefined : this.#waiting.shift();
    if (host === undefined) return;
    // Node's types don't know that highWaterMark is an option here, too.
    const more = { highWaterMark: READ_AHEAD };
    const socket = connect({ host, port: this.#port, allowHalfOpen: true, ...more });
    // Or Node begins to read it as soon as it is connected. Who gets it reads it when there is room for what comes.
    socket.pause();
    this.#running.add(socket);
    const won = (): void => {
      this.#running.delete(socket);
      socket.off("connect", won).off("error", lost);
      tuneTransport(socket);
      this.#result.resolve(socket);
    };
    const lost = (error: Error): void => {
      this.#running.delete(socket);
      if (this.#running.size + this.#waiting.length === 0) this.#result.reject(error);
      else this.#next();
    };
    socket.on("error", ignore).on("connect", won).on("error", lost);
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#next(), ATTEMPT_DELAY_MS);
  }
}

/** RFC 8305 §4: the families in turn, each in the order of the answer. */
function interleave(addresses: readonly LookupAddress[]): string[] {
  const [first] = addresses;
  if (first !== undefined && addresses.length === 1) return [first.address];
  const isPreferred = ({ family }: LookupAddress): boolean => family === first?.family;
  const preferred = addresses.filter(isPreferred);
  const others = addresses.filter((address) => !isPreferred(address));
  return addresses
    .flatMap((_, index) => [preferred[index], others[index]])
    .filter((address) => address !== undefined)
    .map(({ address }) => address);
}
