import { constants } from "node:crypto";
import type { Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import { type Methods, serveCalls } from "../api/grpc-server.ts";
import type { Attester } from "../attestation/evidence.ts";
import type { Budget } from "../runtime/budget.ts";
import { describeError } from "../runtime/errors.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { type Listeners, listenOnMany } from "../runtime/listeners.ts";
import type { Logger } from "../runtime/log.ts";
import { RefusalLog } from "../runtime/refusal-log.ts";
import { sourceOf } from "../runtime/source.ts";
import { Connection } from "./connection.ts";
import { cannotListen, ChannelError } from "./error.ts";
import { answerExchange, type Appraiser } from "./exchange.ts";
import type { Protocols } from "./protocol.ts";
import { type Greeting, readGreeting } from "./greeting.ts";
import { Laggards } from "./laggards.ts";
import { type ChannelLimits, enter } from "./limits.ts";
import { toStatus } from "./rejection.ts";
import { ALPN, peerAddress, type TlsIdentity } from "./tls.ts";

/**
 * Listens on the attested channel. Every connection has methods of its own to call, which were made for the peer that was
 * verified on that connection: no handler can mistake one peer for another, because none is told of two.
 *
 * A connection goes through five states, and has a deadline in each: it says the first message of TLS, waits for a place,
 * completes the handshake, says hello, and calls. In the first two TLS does not know it. Whatever costs processor time is
 * done for one peer at a time, and sources take turns.
 *
 * Where there is no room, those go first who have kept the server waiting for longest.
 */

export interface ChannelServerOptions<P> {
  readonly identity: TlsIdentity;
  readonly attester: Attester;
  readonly appraise: Appraiser<P>;
  /** Adds the methods that this peer may call. */
  readonly serve: (methods: Methods, peer: P) => void;
  /** The account of a peer who has a reserved place; undefined for everybody else. */
  readonly accountOf?: (peer: P) => string | undefined;
  /** Large requests are taken from here. */
  readonly requests: Budget;
  /** Lets in one at a time, of all ports of this process: who is inside may use the processor. */
  readonly turns: KeyedSemaphore;
  readonly log: Logger;
  readonly limits: ChannelLimits;
  readonly observer?: ChannelObserver;
  /** This version's, where left out. */
  readonly protocols?: Protocols;
}

/** Is told what happens, for metrics. */
export interface ChannelObserver {
  connectionsOpen(count: number): void;
  /** @param reason a stable code of a bounded set */
  connectionRefused(reason: string): void;
}

export interface ChannelServer {
  readonly port: number;
  /**
   * Stops listening, lets evidence under verification and calls under way finish for `graceMs`, then closes every
   * connection.
   */
  close(graceMs: number): Promise<void>;
}

/** How often it is looked at who says more than he may, in milliseconds. */
const LOOK_MS = 100;

/**
 * What a peer may say until it is accepted, beside its hello, and what in calls beside large requests, in bytes: every
 * record of TLS and every frame of HTTP/2 costs time, and may have next to nothing in it.
 */
const ALLOWANCE = { handshake: 32 * 1024, calls: 256 * 1024 } as const;

/** @throws ChannelError `address_unavailable` */
export async function listen<P>(
  options: ChannelServerOptions<P>,
  port: number,
  address: string | undefined,
): Promise<ChannelServer> {
  const server = new Listener(options);
  await server.listen(port, address);
  return server;
}

class Listener<P> implements ChannelServer {
  port = 0;
  readonly #options: ChannelServerOptions<P>;
  readonly #limits: ChannelLimits;
  readonly #gates: Readonly<Record<"connections" | "places" | "reserved" | "appraisals", KeyedSemaphore>>;
  readonly #refusals: RefusalLog;
  readonly #tls: TlsServer;
  #listeners: Listeners | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** By address and port, which are good enough to find a connection by; they say nothing about who the peer is. */
  readonly #open = new Map<string, Connection>();
  /** Who has not said the first message of TLS, and who has a place and makes nothing of it. */
  readonly #silent = new Laggards<Connection>();
  readonly #slow = new Laggards<Connection>();

  constructor(options: ChannelServerOptions<P>) {
    const { identity, limits, log } = options;
    this.#options = options;
    this.#limits = limits;
    this.#gates = {
      connections: new KeyedSemaphore(limits.connections),
      places: new KeyedSemaphore(limits.places),
      reserved: new KeyedSemaphore(limits.reserved),
      appraisals: new KeyedSemaphore(limits.appraisals),
    };
    this.#refusals = new RefusalLog(log);
    this.#tls = createTlsServer({
      key: identity.key,
      cert: identity.cert,
      ALPNProtocols: [ALPN],
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      // OpenSSL verifies every signature of a chain before it asks anybody, for as long as that takes.
      requestCert: false,
      // No connection is ever resumed: without this, OpenSSL would seal two tickets for each, for nobody.
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
    this.#tls.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      const connection = this.#open.get(peerAddress(socket));
      // Its deadline was told already, or it left without a word.
      if (connection?.transport.destroyed === false) this.#refuse(connection, "tls_handshake", error.message);
      socket.destroy();
    });
    this.#tls.on("secureConnection", (socket: TLSSocket) => this.#secure(socket));
  }

  async listen(port: number, address: string | undefined): Promise<void> {
    const accept = (transport: Socket): void => this.#accept(transport);
    this.#listeners = await listenOnMany({ port, host: address }, { noDelay: true }, accept).catch((cause: unknown) => {
      throw cannotListen(port, address, cause);
    });
    this.port = this.#listeners.port;
    this.#timer = setInterval(() => this.#lookAtAllowances(), LOOK_MS).unref();
  }

  async close(graceMs: number): Promise<void> {
    const closed = this.#listeners?.close();
    const timer = setTimeout(() => {
      for (const { transport } of this.#open.values()) transport.destroy();
    }, graceMs);
    for (const { transport, calls, isAppraised } of this.#open.values()) {
      if (calls !== undefined) calls.close();
      else if (!isAppraised) transport.destroy();
    }
    await closed;
    clearTimeout(timer);
    clearInterval(this.#timer);
  }

  #refuse(connection: Pick<Connection, "peer" | "source" | "isSettled">, code: string, message: string): void {
    connection.isSettled = true;
    this.#refusals.write({ code, peer: connection.peer, source: connection.source }, message);
    this.#options.observer?.connectionRefused(code);
  }

  /** It went away before its handshake was done, as probes do. That is counted, but nothing to warn of. */
  #left({ peer }: Pick<Connection, "peer">): void {
    this.#options.log.debug({ code: "closed", peer }, "the peer went away before its TLS handshake was done");
    this.#options.observer?.connectionRefused("closed");
  }

  #drop(connection: Connection, code: string, message: string): void {
    if (connection.transport.destroyed) return;
    connection.isDropped = true;
    this.#refuse(connection, code, message);
    connection.destroy();
  }

  #accept(transport: Socket): void {
    transport.on("error", () => undefined);
    // It is gone already.
    if (transport.remoteAddress === undefined) {
      this.#left({ peer: "?" });
      transport.destroy();
      return;
    }
    const source = sourceOf(transport.remoteAddress);
    const leave = this.#enterConnections(source);
    if (leave === undefined) {
      const refused = { peer: peerAddress(transport), source, isSettled: false };
      this.#refuse(refused, "too_many_connections", "there are as many as there may be");
      transport.destroy();
      return;
    }
    const connection = new Connection(transport, source, peerAddress(transport));
    connection.hold("connection", leave);
    this.#open.set(connection.peer, connection);
    this.#options.observer?.connectionsOpen(this.#open.size);
    transport.once("close", () => {
      if (!connection.isSettled) this.#left(connection);
      connection.release();
      // Its address and port may be another's by now.
      if (this.#open.get(connection.peer) === connection) this.#open.delete(connection.peer);
      this.#options.observer?.connectionsOpen(this.#open.size);
    });
    this.#deadline(connection, this.#limits.handshakeMs, "timeout", "the peer did not begin the TLS handshake");
    connection.waitFor(this.#silent, 0, () => undefined);
    readGreeting(
      transport,
      (greeting) => this.#enterPlace(connection, greeting),
      (reason) => this.#drop(connection, "tls_handshake", reason),
      () => connection.destroy(),
    );
  }

  /** Where there is no room, somebody who has said nothing yet makes some. */
  #enterConnections(source: string): (() => void) | undefined {
    const { connections } = this.#gates;
    const enter = (): (() => void) | undefined => connections.enter(source, () => undefined);
    const leave = enter();
    if (leave !== undefined) return leave;
    const laggard =
      this.#silent.oldestOf(source) ?? (connections.isFullFor(source) ? undefined : this.#silent.oldestOfMost());
    if (laggard === undefined) return undefined;
    this.#makeRoom(laggard);
    return enter();
  }

  #makeRoom(laggard: Connection): void {
    this.#drop(laggard, "made_room", "others needed the room of a peer that kept the Coordinator waiting");
  }

  #enterPlace(connection: Connection, greeting: Greeting): void {
    const { source } = connection;
    const { places } = this.#gates;
    connection.work();
    // Who waits behind slow peers gets his turn when their time is over, so his own is longer.
    const noRoom = "there was no room for a TLS handshake in time";
    this.#deadline(connection, this.#limits.handshakeMs * 2, "too_many_handshakes", noRoom);
    let isInside = false;
    const leave = places.enter(source, () => {
      isInside = true;
      this.#beginTls(connection, greeting);
    });
    if (leave === undefined) {
      this.#drop(connection, "too_many_handshakes", "too many wait for their handshake");
      return;
    }
    connection.hold("place", leave);
    if (isInside) return;
    const laggard = this.#slow.oldestOf(source) ?? (places.isFull ? this.#slow.oldestOfMost() : undefined);
    if (laggard !== undefined) this.#makeRoom(laggard);
  }

  #beginTls(connection: Connection, greeting: Greeting): void {
    const leave = this.#options.turns.enter(connection.source, () => {
      setImmediate(() => connection.leave("turn"));
      if (connection.transport.destroyed) return;
      greeting.hand();
      connection.allowance = ALLOWANCE.handshake;
      this.#deadline(connection, this.#limits.handshakeMs, "timeout", "the peer did not finish the TLS handshake");
      this.#waitFor(connection);
      this.#tls.emit("connection", connection.transport);
    });
    if (leave === undefined) this.#drop(connection, "too_many_handshakes", "too many wait for their handshake");
    else connection.hold("turn", leave);
  }

  /** It is the peer's turn, who has a place. One who has a reserved place keeps nobody out. */
  #waitFor(connection: Connection): void {
    if (connection.holds("reserved place")) return;
    connection.waitFor(this.#slow, this.#limits.patienceMs, () => {
      const { places } = this.#gates;
      const isNeeded = places.waitingOf(connection.source) > 0 || (places.isFull && places.waiting > 0);
      if (isNeeded) this.#makeRoom(connection);
    });
  }

  #deadline(connection: Connection, ms: number, code: string, message: string): void {
    const timer = setTimeout(() => this.#drop(connection, code, message), ms);
    connection.hold("deadline", () => clearTimeout(timer));
  }

  #lookAtAllowances(): void {
    for (const connection of this.#open.values()) {
      if (connection.transport.bytesRead <= connection.allowance) continue;
      this.#drop(connection, "too_many_bytes", "the peer says more than there is to say");
    }
  }

  #secure(socket: TLSSocket): void {
    const connection = this.#open.get(peerAddress(socket));
    // Without a listener an error of one connection would end the process; what it means is told by whoever reads.
    socket.on("error", () => undefined);
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    connection.isSettled = true;
    connection.leave("deadline");
    void this.#admit(socket, connection).catch((error: unknown) => {
      if (!connection.isDropped) this.#refuse(connection, codeOf(error), describeError(error));
      // What it was told is on its way. Nothing else is waited for.
      this.#waitFor(connection);
      socket.destroySoon();
      const timer = setTimeout(() => socket.destroy(), this.#limits.handshakeMs);
      // A timer keeps the socket, and all that came on it, in memory.
      socket.once("close", () => clearTimeout(timer));
    });
  }

  /** Verifies a peer, and lets it call. */
  async #admit(socket: TLSSocket, connection: Connection): Promise<void> {
    const { identity, attester, appraise, protocols, serve, accountOf, requests } = this.#options;
    const { handshakeMs, helloBytes, requestMs, idleMs, ageMs } = this.#limits;
    const { transport, source } = connection;
    const timer = setTimeout(() => {
      socket.destroy(
        new ChannelError("timeout", "the peer did not finish the exchange", { want: `${handshakeMs} ms` }),
      );
    }, handshakeMs);
    connection.allowance += 2 * helloBytes;
    this.#waitFor(connection);
    try {
      const peer = await answerExchange(socket, {
        identity,
        attester,
        appraise,
        helloBytes,
        protocols,
        awaitTurn: () => this.#awaitTurn(socket, connection),
      });
      if (socket.destroyed) return;
      const account = accountOf?.(peer);
      if (account !== undefined) this.#reserve(connection, account);
      connection.allowance = connection.holds("reserved place") ? Infinity : transport.bytesRead + ALLOWANCE.calls;
      const methods: Methods = new Map();
      serve(methods, peer);
      this.#waitFor(connection);
      connection.calls = serveCalls(socket, methods, {
        requestMs,
        idleMs,
        ageMs,
        requestBytes: requests.limits.perSource,
        toStatus,
        reserve(bytes) {
          const taken = requests.reserve(account ?? source, bytes);
          if (taken === undefined) return undefined;
          // Records and frames have heads.
          connection.allowance += 2 * bytes;
          return () => taken.release();
        },
        onTurn: (isOurs) => (isOurs ? connection.work() : this.#waitFor(connection)),
      });
    } finally {
      clearTimeout(timer);
      connection.leave("appraisal");
    }
  }

  async #awaitTurn(socket: TLSSocket, connection: Connection): Promise<void> {
    connection.isAppraised = true;
    connection.work();
    connection.hold("appraisal", await enter(this.#gates.appraisals, connection.source, socket));
    const leave = await enter(this.#options.turns, connection.source, socket);
    setImmediate(leave);
  }

  /** Who has an account leaves its place to those who have none. */
  #reserve(connection: Connection, account: string): void {
    const leave = this.#gates.reserved.enter(account, () => undefined);
    if (leave === undefined) return;
    connection.hold("reserved place", leave);
    connection.leave("place");
    connection.leave("connection");
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "internal";
}
