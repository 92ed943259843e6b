import { Server, ServerCredentials } from "@grpc/grpc-js";
import { constants } from "node:crypto";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { Attester } from "../attestation/evidence.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { cannotListen, ChannelError } from "./error.ts";
import { answerExchange, type Appraiser } from "./exchange.ts";
import { Gate } from "../runtime/gate.ts";
import { type ChannelLimits, enter, LARGE_MESSAGE } from "./limits.ts";
import { RefusalLog } from "../runtime/refusal-log.ts";
import { sourceOf } from "../runtime/source.ts";
import { ALPN, peerAddress, type TlsIdentity } from "./tls.ts";

/**
 * Listens on the attested channel. Every connection gets a gRPC server of its own, whose handlers were made for the
 * peer that was verified on that connection: no handler can mistake one peer for another, because none is told of two.
 *
 * A connection takes its place when it is accepted, and has a deadline at every step until it is verified. Until there is
 * room for its handshake nothing is read from it and TLS does not know it.
 */

export interface ChannelServerOptions<P> {
  readonly identity: TlsIdentity;
  readonly attester: Attester;
  readonly appraise: Appraiser<P>;
  /** Adds the services that this peer may call. */
  readonly serve: (server: Server, peer: P) => void;
  readonly log: Logger;
  readonly limits: ChannelLimits;
  readonly observer?: ChannelObserver;
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

interface Connection {
  readonly transport: Socket;
  /** Who it is counted for. */
  readonly source: string;
  readonly endHandshake: () => void;
  /** Something was asked and is not answered yet. */
  isAppraised: boolean;
  /** Set when the peer is verified. */
  server?: Server;
}

/** Calls at once on one connection. */
const STREAMS = 2;

/** How many connections the kernel keeps until they are accepted. */
const BACKLOG = 1024;

/** @throws ChannelError `address_unavailable` */
export async function listen<P>(
  options: ChannelServerOptions<P>,
  port: number,
  address: string | undefined,
): Promise<ChannelServer> {
  const { log, limits, observer } = options;
  const gates: Gates = {
    connections: new Gate(limits.connections),
    handshakes: new Gate(limits.handshakes),
    largeMessages: new Gate(limits.largeMessages),
    appraisals: new Gate(limits.appraisals),
  };
  const refusals = new RefusalLog(log);
  const refuse = (peer: string, code: string, message: string): void => {
    refusals.write(code, peer, message);
    observer?.connectionRefused(code);
  };

  // By address and port, which are good enough to find a connection by; they say nothing about who the peer is.
  const open = new Map<string, Connection>();

  const tls = createTlsServer({
    key: options.identity.key,
    cert: options.identity.cert,
    ALPNProtocols: [ALPN],
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    requestCert: true,
    // Certificates are self-signed by design: the key matters, and evidence or an owner's digest says whose it is.
    rejectUnauthorized: false,
    // No connection is ever resumed: without this, OpenSSL would seal two tickets for each, for nobody.
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
  tls.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    const peer = peerAddress(socket);
    // Its deadline was told already, or it left without a word.
    if (open.get(peer)?.transport.destroyed === false) refuse(peer, "tls_handshake", error.message);
    socket.destroy();
  });
  tls.on("secureConnection", (socket: TLSSocket) => {
    const peer = peerAddress(socket);
    const connection = open.get(peer);
    // Without a listener an error of one connection would end the process; what it means is told by whoever reads.
    socket.on("error", () => undefined);
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    connection.endHandshake();
    void admit(socket, connection, options, gates).catch((error: unknown) => {
      refuse(peer, codeOf(error), describeError(error));
      socket.destroySoon();
      setTimeout(() => socket.destroy(), limits.handshakeMs).unref();
    });
  });

  const listener = createServer({ pauseOnConnect: true, noDelay: true }, (transport) => {
    transport.on("error", () => undefined);
    // It is gone already.
    if (transport.remoteAddress === undefined) {
      transport.destroy();
      return;
    }
    const source = sourceOf(transport.remoteAddress);
    const peer = peerAddress(transport);
    const leave = gates.connections.enter(source, () => undefined);
    if (leave === undefined) {
      refuse(peer, "too_many_connections", "there are as many as there may be");
      transport.destroy();
      return;
    }
    const deadline = (ms: number, code: string, message: string): NodeJS.Timeout =>
      setTimeout(() => {
        refuse(peer, code, message);
        transport.destroy();
      }, ms);
    // Who waits behind silent peers gets his turn when their time is over, so his own is longer.
    let timer = deadline(
      limits.handshakeMs * 2,
      "too_many_handshakes",
      "there was no room for a TLS handshake in time",
    );
    const leaveHandshake = gates.handshakes.enter(source, () => {
      clearTimeout(timer);
      timer = deadline(limits.handshakeMs, "timeout", "the peer did not finish the TLS handshake");
      tls.emit("connection", transport);
    });
    const endHandshake = (): void => {
      clearTimeout(timer);
      leaveHandshake?.();
    };
    const connection: Connection = { transport, source, endHandshake, isAppraised: false };
    open.set(peer, connection);
    observer?.connectionsOpen(open.size);
    transport.once("close", () => {
      endHandshake();
      leave();
      open.delete(peer);
      observer?.connectionsOpen(open.size);
    });
    if (leaveHandshake === undefined) {
      refuse(peer, "too_many_handshakes", "too many wait for their handshake");
      transport.destroy();
    }
  });

  await new Promise<void>((resolve, reject) => {
    listener.once("error", (cause) => reject(cannotListen(port, address, cause)));
    listener.listen({ port, host: address, backlog: BACKLOG }, () => {
      resolve();
    });
  });
  return {
    port: (listener.address() as AddressInfo).port,
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      const timer = setTimeout(() => {
        for (const { transport } of open.values()) transport.destroy();
      }, graceMs);
      for (const { transport, server, isAppraised } of open.values()) {
        // The session ends the connection when its last call is answered. The callback does not wait for that.
        if (server !== undefined) server.tryShutdown(() => undefined);
        else if (!isAppraised) transport.destroy();
      }
      await closed;
      clearTimeout(timer);
    },
  };
}

type Gates = Readonly<Record<"connections" | "handshakes" | "largeMessages" | "appraisals", Gate>>;

/** Verifies a peer, and hands its connection to a gRPC server that was made for it. */
async function admit<P>(
  socket: TLSSocket,
  connection: Connection,
  { identity, attester, appraise, serve, limits }: ChannelServerOptions<P>,
  gates: Gates,
): Promise<void> {
  const { source } = connection;
  const leaves: (() => void)[] = [];
  const timer = setTimeout(() => {
    socket.destroy(
      new ChannelError("timeout", "the peer did not finish the exchange", { want: `${limits.handshakeMs} ms` }),
    );
  }, limits.handshakeMs);
  try {
    const peer = await answerExchange(socket, {
      identity,
      attester,
      appraise,
      async makeRoom(length) {
        if (length > LARGE_MESSAGE) leaves.push(await enter(gates.largeMessages, source, socket));
      },
      async awaitTurn() {
        connection.isAppraised = true;
        leaves.push(await enter(gates.appraisals, source, socket));
      },
    });
    if (socket.destroyed) return;
    const server = new Server({
      "grpc.max_connection_idle_ms": limits.idleMs,
      "grpc.max_connection_age_ms": limits.ageMs,
      "grpc.max_connection_age_grace_ms": limits.handshakeMs,
      "grpc.max_receive_message_length": limits.messageBytes,
      "grpc.max_concurrent_streams": STREAMS,
      // In MB; without it grpc-js takes all there is. Above it HTTP/2 refuses new streams.
      "grpc-node.max_session_memory": Math.ceil((STREAMS * 2 * limits.messageBytes) / 2 ** 20),
      "grpc.enable_channelz": 0,
    });
    serve(server, peer);
    // TLS is below and already done: to gRPC this is a plain stream of bytes.
    server.createConnectionInjector(ServerCredentials.createInsecure()).injectConnection(socket);
    connection.server = server;
  } finally {
    clearTimeout(timer);
    for (const leave of leaves) leave();
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "internal";
}
