import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { AddressInfo, Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import type { Attester } from "../attestation/evidence.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { cannotListen, ChannelError } from "./error.ts";
import { answerExchange, type Appraiser } from "./exchange.ts";
import { ALPN, type TlsIdentity } from "./tls.ts";

/**
 * Listens on the attested channel. Every connection gets a gRPC server of its own, whose handlers were made for the
 * peer that was verified on that connection: no handler can mistake one peer for another, because none is told of two.
 */

export interface ChannelServerOptions<P> {
  readonly identity: TlsIdentity;
  readonly attester: Attester;
  readonly appraise: Appraiser<P>;
  /** Adds the services that this peer may call. */
  readonly serve: (server: Server, peer: P) => void;
  readonly log: Logger;
  readonly limits: ChannelLimits;
}

export interface ChannelLimits {
  /** For the TLS handshake, and again for the exchange, in milliseconds. */
  readonly handshakeMs: number;
  /** A connection without a call is closed after this, in milliseconds. */
  readonly idleMs: number;
  /** No connection lives longer than this, in milliseconds. */
  readonly ageMs: number;
  readonly connections: number;
  /** The largest gRPC message, in bytes. */
  readonly messageBytes: number;
}

export interface ChannelServer {
  readonly port: number;
  /** Stops listening, lets calls under way finish for `graceMs`, then closes every connection. */
  close(graceMs: number): Promise<void>;
}

/** @throws ChannelError `address_unavailable` */
export async function listen<P>(
  options: ChannelServerOptions<P>,
  port: number,
  address: string | undefined,
): Promise<ChannelServer> {
  const { log, limits } = options;
  const open = new Map<TLSSocket, Server | undefined>();
  const listener = createServer({
    ...options.identity,
    ALPNProtocols: [ALPN],
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    requestCert: true,
    // Certificates are self-signed by design: the key matters, and evidence or an owner's digest says whose it is.
    rejectUnauthorized: false,
    noDelay: true,
  });
  listener.maxConnections = limits.connections;

  // Node's own handshake timeout begins anew with every byte, so that a slow peer could hold its place for ever. The
  // address is good enough to find a timer by; it says nothing about who the peer is.
  const handshakes = new Map<string, NodeJS.Timeout>();
  const endHandshake = (address: string): void => {
    clearTimeout(handshakes.get(address));
    handshakes.delete(address);
  };
  listener.on("connection", (transport: Socket) => {
    const peer = peerAddress(transport);
    const late = (): void => {
      log.warn({ peer, code: "timeout" }, "connection refused: the peer did not finish the TLS handshake");
      transport.destroy();
    };
    handshakes.set(peer, setTimeout(late, limits.handshakeMs));
    transport.once("close", () => endHandshake(peer));
  });

  listener.on("secureConnection", (socket: TLSSocket) => {
    const peer = peerAddress(socket);
    endHandshake(peer);
    open.set(socket, undefined);
    socket.on("close", () => {
      open.get(socket)?.forceShutdown();
      open.delete(socket);
    });
    // Without a listener an error of one connection would end the process; what it means is told by whoever reads.
    socket.on("error", () => undefined);
    void admit(socket, options).then(
      (server) => {
        if (socket.destroyed) server.forceShutdown();
        else open.set(socket, server);
      },
      (error: unknown) => {
        log.warn({ peer, ...codeOf(error) }, `connection refused: ${describeError(error)}`);
        socket.destroySoon();
        setTimeout(() => socket.destroy(), limits.handshakeMs).unref();
      },
    );
  });
  listener.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    if (!handshakes.has(peerAddress(socket))) return;
    log.warn({ peer: peerAddress(socket), code: "tls_handshake" }, `connection refused: ${error.message}`);
    socket.destroy();
  });
  listener.on("drop", (dropped) => {
    log.warn(
      { peer: `${dropped?.remoteAddress}:${dropped?.remotePort}`, code: "too_many_connections" },
      "connection refused",
    );
  });

  await new Promise<void>((resolve, reject) => {
    listener.once("error", (cause) => reject(cannotListen(port, address, cause)));
    listener.listen({ port, host: address }, () => {
      resolve();
    });
  });
  return {
    port: (listener.address() as AddressInfo).port,
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      const timer = setTimeout(() => {
        for (const socket of open.keys()) socket.destroy();
      }, graceMs);
      for (const [socket, server] of open) {
        if (server === undefined) socket.destroy();
        else server.tryShutdown(() => socket.destroy());
      }
      await closed;
      clearTimeout(timer);
    },
  };
}

async function admit<P>(socket: TLSSocket, options: ChannelServerOptions<P>): Promise<Server> {
  const { limits } = options;
  const timer = setTimeout(() => {
    socket.destroy(
      new ChannelError("timeout", "the peer did not finish the exchange", { want: `${limits.handshakeMs} ms` }),
    );
  }, limits.handshakeMs);
  try {
    const peer = await answerExchange(socket, options.attester, options.appraise);
    const server = new Server({
      "grpc.max_connection_idle_ms": limits.idleMs,
      "grpc.max_connection_age_ms": limits.ageMs,
      "grpc.max_connection_age_grace_ms": limits.handshakeMs,
      "grpc.max_receive_message_length": limits.messageBytes,
      "grpc.max_concurrent_streams": 2,
      "grpc.enable_channelz": 0,
    });
    options.serve(server, peer);
    // TLS is below and already done: to gRPC this is a plain stream of bytes.
    server.createConnectionInjector(ServerCredentials.createInsecure()).injectConnection(socket);
    return server;
  } finally {
    clearTimeout(timer);
  }
}

function codeOf(error: unknown): { code?: string } {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? { code: error.code } : {};
}

function peerAddress(socket: { remoteAddress?: string | undefined; remotePort?: number | undefined }): string {
  return `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
}
