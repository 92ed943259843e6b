import type { Socket } from "node:net";
import type { CallServer } from "../api/grpc-server.ts";
import type { Laggards } from "./laggards.ts";

/** What a connection can hold that others need, too. */
type Held = "connection" | "place" | "reserved place" | "turn" | "appraisal" | "deadline";

/** One connection of a server of the attested channel: what it holds, and whose turn it is. */
export class Connection {
  readonly transport: Socket;
  /** Who it is counted for. */
  readonly source: string;
  /** Address and port. */
  readonly peer: string;
  /** It was closed, and told of, by the server itself. */
  isDropped = false;
  /** Its handshake is done, or it was told of that it was refused. */
  isSettled = false;
  /** Something was asked and is not answered yet. */
  isAppraised = false;
  /** Set when the peer is accepted. */
  calls: CallServer | undefined;
  /** How many bytes the peer may have said up to now. */
  allowance = Infinity;
  readonly #held = new Map<Held, () => void>();
  #stopWaiting: () => void = () => undefined;

  constructor(transport: Socket, source: string, peer: string) {
    this.transport = transport;
    this.source = source;
    this.peer = peer;
  }

  /** @param leave gives it back. What was held of the same kind is given back first */
  hold(what: Held, leave: () => void): void {
    this.leave(what);
    // It went away while it waited.
    if (this.transport.destroyed) leave();
    else this.#held.set(what, leave);
  }

  holds(what: Held): boolean {
    return this.#held.has(what);
  }

  leave(what: Held): void {
    const leave = this.#held.get(what);
    this.#held.delete(what);
    leave?.();
  }

  /** From now on the server waits for the peer; after so many milliseconds it is among the laggards. */
  waitFor(laggards: Laggards<Connection>, patienceMs: number, onLate: () => void): void {
    this.work();
    if (this.transport.destroyed) return;
    const late = (): void => {
      laggards.add(this);
      onLate();
    };
    const timer = patienceMs === 0 ? undefined : setTimeout(late, patienceMs);
    this.#stopWaiting = () => {
      clearTimeout(timer);
      laggards.delete(this);
    };
    if (patienceMs === 0) late();
  }

  /** From now on the peer waits for the server. */
  work(): void {
    this.#stopWaiting();
    this.#stopWaiting = () => undefined;
  }

  /** Gives everything back at once: others need not wait until the connection is closed. */
  release(): void {
    this.work();
    for (const what of this.#held.keys()) this.leave(what);
  }

  destroy(): void {
    this.calls?.destroy();
    this.transport.destroy();
    this.release();
  }
}
