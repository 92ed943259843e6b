import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { Connection } from "../../channel/connection.ts";
import { cannotListen } from "../../channel/error.ts";
import { readGreeting } from "../../channel/greeting.ts";
import { Laggards } from "../../channel/laggards.ts";
import type { ChannelObserver } from "../../channel/server.ts";
import { peerAddress } from "../../channel/tls.ts";
import { KeyedSemaphore } from "../../runtime/keyed-semaphore.ts";
import { type Listeners, listenOnMany } from "../../runtime/listeners.ts";
import type { Logger } from "../../runtime/log.ts";
import { RefusalLog } from "../../runtime/refusal-log.ts";
import { sourceOf } from "../../runtime/source.ts";
import type { TransitLimits } from "./limits.ts";
import type { ServerIdentity } from "./server-identity.ts";
import { Wire } from "./wire.ts";

/** A connection whose TLS handshake is done. */
export interface Secured {
  readonly connection: Connection;
  readonly tls: TLSSocket;
  /** What the server showed on it. */
  readonly identity: ServerIdentity;
}

export interface IntakeOptions {
  readonly limits: TransitLimits;
  readonly identity: () => ServerIdentity;
  readonly secured: (secured: Secured) => void;
  /** Lets in one at a time, of all ports of this process. */
  readonly turns: KeyedSemaphore;
  readonly log: Logger;
  readonly observer?: ChannelObserver | undefined;
}

/**
 * Takes connections up to the end of their TLS handshake, as the attested channel does: a client says the first message of
 * TLS, waits for a place, and gets its turn. Where there is no room, those go first who have kept the server waiting for
 * longest.
 */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #connections: KeyedSemaphore;
  readonly #places: KeyedSemaphore;
  readonly #refusals: RefusalLog;
  readonly #open = new Set<Connection>();
  readonly #silent = new Laggards<Connection>();
  readonly #slow = new Laggards<Connection>();
  #listeners: Listeners | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#connections = new KeyedSemaphore(options.limits.connections);
    this.#places = new KeyedSemaphore(options.limits.places);
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

  /** Takes no more, and ends handshakes. Resolves when all connections have ended, of which those do that are left then. */
  async close(graceMs: number): Promise<void> {
    for (const connection of this.#open) if (!connection.isSettled) connection.destroy();
    const timer = setTimeout(() => {
      for (const { transport } of this.#open) transport.destroy();
    }, graceMs);
    await this.#listeners?.close();
    clearTimeout(timer);
  }

  refuse({ peer, source }: Pick<Connection, "peer" | "source">, code: string, message: string): void {
    this.#refusals.write({ code, peer, source }, message);
    this.#options.observer?.connectionRefused(code);
  }

  /** The server waits for this client; where others need its place, it has to go. */
  waitFor(connection: Connection): void {
    connection.waitFor(this.#slow, this.#options.limits.patienceMs, () => {
      const isNeeded =
        this.#places.waitingOf(connection.source) > 0 || (this.#places.isFull && this.#places.waiting > 0);
      if (isNeeded) this.#makeRoom(connection);
    });
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
      this.refuse(connection, "too_many_connections", "there are as many as there may be");
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
    const { handshakeMs } = this.#options.limits;
    this.#deadline(connection, handshakeMs, "timeout", "the client did not begin the TLS handshake");
    connection.waitFor(this.#silent, 0, () => undefined);
    readGreeting(
      transport,
      (greeting) => this.#place(connection, () => greeting.hand()),
      (reason) => this.#drop(connection, "tls_handshake", reason),
      () => connection.destroy(),
    );
  }

  /** Where there is no room, somebody who has said nothing yet makes some. */
  #enter(source: string): (() => void) | undefined {
    const enter = (): (() => void) | undefined => this.#connections.enter(source, () => undefined);
    const leave = enter();
    if (leave !== undefined) return leave;
    const isOfOne = this.#connections.isFullFor(source);
    const laggard = this.#silent.oldestOf(source) ?? (isOfOne ? undefined : this.#silent.oldestOfMost());
    if (laggard === undefined) return undefined;
    this.#makeRoom(laggard);
    return enter();
  }

  #place(connection: Connection, hand: () => void): void {
    const { source } = connection;
    connection.work();
    const { handshakeMs } = this.#options.limits;
    this.#deadline(connection, 2 * handshakeMs, "too_many_handshakes", "there was no room for a TLS handshake in time");
    let isInside = false;
    const leave = this.#places.enter(source, () => {
      isInside = true;
      this.#takeTurn(connection, hand);
    });
    if (leave === undefined) {
      this.#drop(connection, "too_many_handshakes", "too many wait for their handshake");
      return;
    }
    connection.hold("place", leave);
    if (isInside) return;
    const laggard = this.#slow.oldestOf(source) ?? (this.#places.isFull ? this.#slow.oldestOfMost() : undefined);
    if (laggard !== undefined) this.#makeRoom(laggard);
  }

  #takeTurn(connection: Connection, hand: () => void): void {
    const leave = this.#options.turns.enter(connection.source, () => {
      setImmediate(() => connection.leave("turn"));
      if (!connection.transport.destroyed) this.#secure(connection, hand);
    });
    if (leave === undefined) this.#drop(connection, "too_many_handshakes", "too many wait for their handshake");
    else connection.hold("turn", leave);
  }

  #secure(connection: Connection, hand: () => void): void {
    const { handshakeMs } = this.#options.limits;
    const identity = this.#options.identity();
    this.#deadline(connection, handshakeMs, "timeout", "the client did not finish the TLS handshake");
    this.waitFor(connection);
    hand();
    const wire = new Wire(connection.transport);
    const tls = new TLSSocket(wire, {
      isServer: true,
      secureContext: identity.context,
      requestCert: true,
      // Who it is, is decided for each request, and answered there: a client can read that, and can't read an alert.
      rejectUnauthorized: false,
    });
    tls.on("error", (error) => {
      if (!connection.isSettled) this.#drop(connection, "tls_handshake", error.message);
      tls.destroy();
      connection.destroy();
    });
    tls.once("close", () => connection.destroy());
    tls.once("secure", () => {
      wire.done();
      connection.isSettled = true;
      connection.leave("deadline");
      this.#options.secured({ connection, tls, identity });
    });
  }

  #deadline(connection: Connection, ms: number, code: string, message: string): void {
    const timer = setTimeout(() => this.#drop(connection, code, message), ms);
    connection.hold("deadline", () => clearTimeout(timer));
  }

  #makeRoom(laggard: Connection): void {
    this.#drop(laggard, "made_room", "others needed the room of a client that kept the Coordinator waiting");
  }

  #drop(connection: Connection, code: string, message: string): void {
    if (connection.isDropped) return;
    connection.isDropped = true;
    // An idle client that goes to make room is nothing to warn of.
    if (!connection.isSettled) this.refuse(connection, code, message);
    connection.isSettled = true;
    connection.destroy();
  }
}
