import { hkdfSync } from "node:crypto";
import type { Socket } from "node:net";
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from "node:tls";
import type { CredentialsInUse, CurrentCredentials } from "../../credentials/current-credentials.ts";
import { reason } from "../../faults.ts";
import { ConnectionFault } from "../fault.ts";
import type { Leg } from "../leg.ts";
import { ignore, whileWaited } from "../tcp.ts";
import { ServerSide } from "./server-side.ts";
import { isBoundToHandshake, tlsSettings, type TlsVersion } from "./settings.ts";
import { Wire } from "./wire.ts";

export interface AcceptorOptions {
  readonly clientCertificate: "required" | "not asked for";
  readonly oldestTls: TlsVersion;
  /** How long a client may take, in milliseconds. */
  readonly handshakeMs: number;
  readonly now: () => Date;
}

/** A side with TLS, whose wire has to be released for it to be read. */
export interface SecureLeg extends Leg {
  readonly stream: TLSSocket;
  readonly wire: Wire;
}

/**
 * The server side of TLS on connections that were accepted elsewhere: one TLS context for all of them. With
 * `clientCertificate: "required"` a connection is secure only if the client's chain ends in the mesh CA.
 *
 * A session is resumed only under the certificate set that it began under: the keys of its ticket (RFC 5077) belong to
 * that set, are in no file, and are gone with it. A session that was begun without a client certificate has others than
 * one that was begun with it.
 */
export class TlsAcceptor {
  readonly #server: Server;
  readonly #serverSide: ServerSide;
  readonly #handshakeMs: number;
  readonly #handshakes = new WeakMap<TLSSocket, Handshake>();

  constructor(credentials: CurrentCredentials, options: AcceptorOptions) {
    const { clientCertificate, oldestTls, handshakeMs, now } = options;
    this.#handshakeMs = handshakeMs;
    const isRequired = clientCertificate === "required";
    // A session that was begun without a client certificate must not be resumed where one is required.
    const sessionIdContext = isRequired ? "mesh-mutual" : "mesh-server";
    const contextOptions = (current: CredentialsInUse): SecureContextOptions => ({
      ...tlsSettings(current, oldestTls),
      sessionIdContext,
      ticketKeys: ticketKeys(current, sessionIdContext),
    });
    this.#server = createServer({
      ...contextOptions(credentials.current),
      requestCert: isRequired,
      rejectUnauthorized: true,
      ALPNCallback: ({ protocols }) => applicationProtocol(protocols),
    });
    credentials.onChange((current) => this.#server.setSecureContext(contextOptions(current)));
    this.#server.on("secureConnection", (socket) => {
      socket.on("error", ignore);
      // Before the client's end can be seen: from here on it may end its direction and still wait for an answer.
      socket.allowHalfOpen = true;
      const handshake = this.#handshakes.get(socket);
      if (handshake === undefined) socket.destroy();
      else if (isResumedTooLate(socket, now())) handshake.reject(untrusted("CERT_HAS_EXPIRED"));
      else if (!isBoundToHandshake(socket)) handshake.reject(unbound());
      else handshake.resolve();
    });
    this.#serverSide = new ServerSide(this.#server);
  }

  /**
   * Waits for a client to begin: until then it costs nothing of TLS.
   *
   * @throws ConnectionFault `client_gone` where it leaves without a word, `handshake_too_large` or `handshake_timeout`
   */
  async begin(transport: Socket): Promise<Wire> {
    const wire = new Wire(transport);
    try {
      await whileWaited(transport, late, wire.begun(), this.#handshakeMs);
      return wire;
    } catch (error) {
      wire.destroy();
      throw error;
    }
  }

  /**
   * @param wire of `begin`
   * @throws ConnectionFault `client_certificate_missing`, `client_certificate_untrusted`, `handshake_too_large`,
   *   `tls_handshake` or `handshake_timeout`
   */
  async accept(transport: Socket, wire: Wire): Promise<SecureLeg> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Node's own handshake timeout starts anew with every byte that a slow peer sends.
    const timer = setTimeout(() => reject(late()), this.#handshakeMs);
    const stream = this.#serverSide.streamOn(wire);
    const failed = (error: Error): void => reject(refusal(error, stream));
    const closed = (): void => failed(hangUp());
    // A closing alert in place of the rest of the handshake is the end of the stream, and no error.
    stream.on("error", failed).on("end", closed).on("close", closed);
    wire.on("error", failed);
    this.#handshakes.set(stream, {
      resolve: () => {
        wire.done();
        resolve();
      },
      reject,
    });
    try {
      await promise;
      return { stream, transport, wire };
    } catch (error) {
      wire.destroy();
      stream.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
      stream.off("error", failed).off("end", closed).off("close", closed);
      wire.off("error", failed);
      this.#handshakes.delete(stream);
    }
  }
}

interface Handshake {
  readonly resolve: () => void;
  readonly reject: (error: ConnectionFault) => void;
}

function late(): ConnectionFault {
  return new ConnectionFault("handshake_timeout");
}

function hangUp(): Error {
  return Object.assign(new Error("closed"), { code: "ECONNRESET" });
}

/** Name, key of AES and key of HMAC, 16 bytes each, as Node wants them. */
function ticketKeys({ ticketSecret }: CredentialsInUse, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", ticketSecret.reveal(), "", purpose, 48));
}

/**
 * The protocol inside (RFC 7301). The proxy carries bytes and does not know what the application speaks, so it takes what
 * every server speaks if the client can do with it. A client that offers HTTP/2 alone is one of gRPC, which gives up
 * without this answer; one that offers something else alone knows what it wants.
 */
function applicationProtocol(offered: readonly string[]): string | undefined {
  return ["http/1.1", "h2"].find((protocol) => offered.includes(protocol)) ?? offered[0];
}

/** OpenSSL does not look at the dates again when a session is resumed, and every resumption gives a new ticket. */
function isResumedTooLate(socket: TLSSocket, now: Date): boolean {
  const certificate = socket.isSessionReused() ? socket.getPeerX509Certificate() : undefined;
  return certificate !== undefined && certificate.validToDate < now;
}

function refusal(error: Error, stream: TLSSocket): ConnectionFault {
  if (error instanceof ConnectionFault) return error;
  // Node's types say Error; it is the code of OpenSSL's verification.
  const verification: unknown = stream.authorizationError;
  if (typeof verification === "string") return untrusted(verification);
  const got = reason(error);
  if (got === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") return new ConnectionFault("client_certificate_missing");
  return new ConnectionFault("tls_handshake", got);
}

function unbound(): ConnectionFault {
  return new ConnectionFault("tls_handshake", "TLS 1.2 without the extended master secret (RFC 7627)");
}

function untrusted(verification: string): ConnectionFault {
  return new ConnectionFault("client_certificate_untrusted", verification);
}
