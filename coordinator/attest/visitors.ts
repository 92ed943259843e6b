import type { Socket } from "node:net";
import { Connection } from "../../channel/connection.ts";
import { cannotListen } from "../../channel/error.ts";
import { Laggards } from "../../channel/laggards.ts";
import type { ChannelObserver } from "../../channel/server.ts";
import { peerAddress } from "../../channel/tls.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import { type Listeners, listenOnMany } from "../../runtime/listeners.ts";
import type { Logger } from "../../runtime/log.ts";
import { RefusalLog } from "../../runtime/refusal-log.ts";
import { sourceOf } from "../../runtime/source.ts";
import { ANSWER_BYTES, type AttestLimits } from "./limits.ts";

export interface VisitorsOptions {
  readonly limits: AttestLimits;
  readonly log: Logger;
  readonly observer?: ChannelObserver | undefined;
  readonly accepted: (connection: Connection) => void;
}

/** How long a client whose time is over has to read what it was sent, in milliseconds. */
const LINGER_MS = 1000;

/**
 * The connections of the attestation port: as many as there may be, in all and of each source. Where there is no room, those
 * go first who have said nothing for longest, and where answers wait to be sent, those who do not read theirs.
 *
 * Who has to go is reset: what he has not read would stay in the kernel else, after the connection and without a bound.
 */
export class Visitors {
  readonly #options: VisitorsOptions;
  readonly #connections: KeyedSemaphore;
  readonly #answers: Gate;
  readonly #large: Gate;
  readonly #refusals: RefusalLog;
  readonly #open = new Set<Connection>();
  readonly #silent = new Laggards<Connection>();
  #listeners: Listeners | undefined;

  constructor(options: VisitorsOptions) {
    this.#options = options;
    const { connections, answers, large } = options.limits;
    this.#connections = new KeyedSemaphore(connections);
    this.#answers = { places: new KeyedSemaphore(answers), slow: new Laggards() };
    this.#large = { places: new KeyedSemaphore(large), slow: new Laggards() };
    this.#refusals = new RefusalLog(options.log);
  }

  /** @throws ChannelError `address_unavailable` */
  async listen(port: number, address: string | undefined): Promise<number> {
    const accept = (transport: Socket): void => this.#accept(transport);
    this.#listeners = await listenOnMany({ port, host: address }, { noDelay: true }, accept).catch((cause: unknown) => {
      throw cannotListen(port, address, cause);
    });
    return this.#listeners.port;
  }

  /** Takes no more. Resolves when all connections have ended, of which those do that are left after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    const timer = setTimeout(() => {
      for (const connection of this.#open) reset(connection);
    }, graceMs);
    await this.#listeners?.close();
    clearTimeout(timer);
  }

  /** It is the client's turn to ask. It goes before its time where others need the room. */
  awaitRequest(connection: Connection): void {
    connection.leave("place");
    this.#deadline(connection, this.#options.limits.idleMs, () => this.leave(connection, LINGER_MS));
    connection.waitFor(this.#silent, 0, () => undefined);
  }

  /** It has said that it asks, and is slow with the rest. @param late called when that takes too long */
  awaitBody(connection: Connection, late: () => void): void {
    const { requestMs, patienceMs } = this.#options.limits;
    this.#deadline(connection, requestMs, late);
    connection.waitFor(this.#silent, patienceMs, () => undefined);
  }

  /** It waits for us. */
  work(connection: Connection): void {
    connection.isSettled = true;
    connection.leave("deadline");
    connection.work();
  }

  /**
   * Waits for a place among the answers on their way.
   *
   * @param bytes of the answer
   * @param send called when there is one, maybe at once; not where the client goes away before
   */
  awaitPlace(connection: Connection, bytes: number, send: () => void): void {
    this.work(connection);
    const gate = bytes > ANSWER_BYTES ? this.#large : this.#answers;
    const { places, slow } = gate;
    const { requestMs, patienceMs } = this.#options.limits;
    this.#deadline(connection, requestMs, () => reset(connection));
    let isInside = false;
    const leave = places.enter(connection.source, () => {
      isInside = true;
      if (connection.transport.destroyed) return;
      this.#deadline(connection, requestMs, () => reset(connection));
      connection.waitFor(slow, patienceMs, () => {
        const isNeeded = places.waitingOf(connection.source) > 0 || (places.isFull && places.waiting > 0);
        if (isNeeded) this.#makeRoom(connection);
      });
      send();
    });
    if (leave === undefined) {
      this.#refuse(connection, "too_many_answers", "too many answers wait to be sent");
      reset(connection);
      return;
    }
    connection.hold("place", leave);
    if (isInside) return;
    const laggard = slow.oldestOf(connection.source) ?? (places.isFull ? slow.oldestOfMost() : undefined);
    if (laggard !== undefined) this.#makeRoom(laggard);
  }

  /** There will be no further answer. It keeps its place until it has read this one and ended the connection, too. */
  leave(connection: Connection, ms = this.#options.limits.requestMs): void {
    this.#deadline(connection, ms, () => reset(connection));
    connection.transport.end();
  }

  #accept(transport: Socket): void {
    transport.on("error", () => undefined);
    if (transport.remoteAddress === undefined) {
      transport.destroy();
      return;
    }
    const connection = new Connection(transport, sourceOf(transport.remoteAddress), peerAddress(transport));
    const leave = this.#enter(connection.source);
    if (leave === undefined) {
      this.#refuse(connection, "too_many_connections", "there are as many as there may be");
      transport.destroy();
      return;
    }
    connection.hold("connection", leave);
    this.#open.add(connection);
    this.#options.observer?.connectionsOpen(this.#open.size);
    transport.once("close", () => {
      connection.release();
      this.#open.delete(connection);
      this.#options.observer?.connectionsOpen(this.#open.size);
    });
    this.#options.accepted(connection);
  }

  #enter(source: string): (() => void) | undefined {
    const enter = (): (() => void) | undefined => this.#connections.enter(source, () => undefined);
    const leave = enter();
    if (leave !== undefined) return leave;
    const isOfOne = this.#connections.isFullFor(source);
    const lagging = [this.#silent, this.#answers.slow, this.#large.slow];
    const oldest = (of: Laggards<Connection>): Connection | undefined =>
      of.oldestOf(source) ?? (isOfOne ? undefined : of.oldestOfMost());
    const laggard = lagging.map(oldest).find((one) => one !== undefined);
    if (laggard === undefined) return undefined;
    this.#makeRoom(laggard);
    return enter();
  }

  #deadline(connection: Connection, ms: number, late: () => void): void {
    const timer = setTimeout(late, ms);
    connection.hold("deadline", () => clearTimeout(timer));
  }

  /** One that goes between two requests, or with an answer, is nothing to warn of. */
  #makeRoom(laggard: Connection): void {
    if (laggard.isSettled) this.#options.observer?.connectionRefused("made_room");
    else this.#refuse(laggard, "made_room", "others needed the room of a client that kept the Coordinator waiting");
    reset(laggard);
  }

  #refuse({ peer, source }: Connection, code: string, message: string): void {
    this.#refusals.write({ code, peer, source }, message);
    this.#options.observer?.connectionRefused(code);
  }
}

interface Gate {
  readonly places: KeyedSemaphore;
  /** Those inside who do not read. */
  readonly slow: Laggards<Connection>;
}

function reset(connection: Connection): void {
  connection.transport.resetAndDestroy();
  connection.destroy();
}
