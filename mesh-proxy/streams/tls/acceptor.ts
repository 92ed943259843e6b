import { hkdfSync } from "node:crypto";
import { Socket } from "node:net";
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from "node:tls";
import { failWhereCut } from "./close-notify.ts";
import type { CredentialsInUse, CurrentCredentials } from "../../credentials/current-credentials.ts";
import { MeshProxyError, reason } from "../../faults.ts";
import { Intake, type Reading } from "./wire.ts";
import { ServerSide } from "./server-side.ts";
import { ignore, type Leg, whileWaited } from "../leg.ts";
import { isBoundToHandshake, tlsSettings, type TlsVersion } from "./settings.ts";

export interface AcceptorOptions {
  readonly clientCertificate: "required" | "not asked for";
  readonly oldestTls: TlsVersion;
  /** How long a client may take, in milliseconds. */
  readonly handshakeMs: number;
  readonly reading: Reading;
  readonly now: () => Date;
}

/** The server's side of a connection that is secure. */
export interface SecureLeg extends Leg {
  readonly stream: TLSSocket;
  /** Has to be released for the stream to be read. */
  readonly intake: Intake;
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
  readonly #reading: Reading;
  readonly #handshakes = new WeakMap<TLSSocket, Handshake>();

  constructor(credentials: CurrentCredentials, options: AcceptorOptions) {
    const { clientCertificate, oldestTls, handshakeMs, now, reading } = options;
    this.#handshakeMs = handshakeMs;
    this.#reading = reading;
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
      else handshake.resolve(socket);
    });
    this.#serverSide = new ServerSide(this.#server);
  }

  /**
   * Waits for a client to begin: until then it costs nothing of TLS.
   *
   * @param transport accepted with `allowHalfOpen: false`: who closes it during the handshake is gone
   * @throws MeshProxyError `client_gone` where it leaves without a word, `handshake_too_large`, `tls_handshake`,
   *   `handshake_timeout` or `too_many_connections`
   */
  async begin(transport: Socket, source: string): Promise<Intake> {
    const intake = new Intake(transport, source, this.#reading);
    try {
      await whileWaited(transport, () => this.#late(), intake.firstMessage(), this.#handshakeMs);
      return intake;
    } catch (error) {
      intake.close();
      throw refusal(error as Error);
    }
  }

  /**
   * @param intake of `begin`
   * @throws MeshProxyError `client_certificate_missing`, `client_certificate_untrusted`, `handshake_too_large`,
   *   `tls_handshake` or `handshake_timeout`
   */
  async accept(transport: Socket, intake: Intake): Promise<SecureLeg> {
    const handshake = Promise.withResolvers<TLSSocket>();
    // Node's own handshake timeout starts anew with every byte that a slow peer sends.
    const timer = setTimeout(() => handshake.reject(this.#late()), this.#handshakeMs);
    const restore = resetWhereClosed(transport);
    const stream = this.#serverSide.streamOn(transport);
    const failed = (error: Error): void => handshake.reject(refusal(error, stream));
    const closed = (): void => failed(hangUp());
    stream.on("error", failed).on("close", closed);
    this.#handshakes.set(stream, {
      resolve: (socket) => {
        intake.done();
        handshake.resolve(socket);
      },
      reject: handshake.reject,
    });
    try {
      intake.feed(stream);
      const leg = { stream: await handshake.promise, transport, intake };
      failWhereCut(leg);
      return leg;
    } catch (error) {
      transport.destroy();
      throw error;
    } finally {
      restore();
      clearTimeout(timer);
      stream.off("error", failed).off("close", closed);
      this.#handshakes.delete(stream);
    }
  }

  #late(): MeshProxyError {
    return new MeshProxyError("handshake_timeout", `no TLS handshake within ${this.#handshakeMs} ms`);
  }
}

type Handshake = Pick<PromiseWithResolvers<TLSSocket>, "resolve" | "reject">;

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

/**
 * Makes every closing of a connection a reset, until the returned function is called. Node closes the connection of a
 * client that it refuses without an alert; in TLS 1.3 that client believes its handshake done, and may take it for an
 * answer that is empty.
 */
function resetWhereClosed(transport: Socket): () => void {
  let isReset = true;
  // It stays: an object that a property is deleted from is slow and large from then on.
  transport.destroy = (error) => {
    if (!isReset) return Socket.prototype.destroy.call(transport, error);
    isReset = false;
    return transport.resetAndDestroy();
  };
  return () => void (isReset = false);
}

/** OpenSSL does not look at the dates again when a session is resumed, and every resumption gives a new ticket. */
function isResumedTooLate(socket: TLSSocket, now: Date): boolean {
  const certificate = socket.isSessionReused() ? socket.getPeerX509Certificate() : undefined;
  return certificate !== undefined && certificate.validToDate < now;
}

const HINT = "only workloads of the mesh may connect, with the certificate that the Coordinator issued to them";

function refusal(error: Error, socket?: TLSSocket): MeshProxyError {
  if (error instanceof MeshProxyError) return error;
  // Node's types say Error; it is the code of OpenSSL's verification.
  const verification: unknown = socket?.authorizationError;
  if (typeof verification === "string") return untrusted(verification);
  const got = reason(error);
  if (got === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") {
    return new MeshProxyError("client_certificate_missing", "the client showed no certificate", { hint: HINT });
  }
  return new MeshProxyError("tls_handshake", "the TLS handshake failed", { got, cause: error });
}

function unbound(): MeshProxyError {
  return new MeshProxyError("tls_handshake", "the client's TLS is not bound to its handshake", {
    got: "TLS 1.2 without the extended master secret",
    want: "TLS 1.3, or 1.2 with RFC 7627",
  });
}

function untrusted(verification: string): MeshProxyError {
  return new MeshProxyError("client_certificate_untrusted", "the client's certificate is not valid in the mesh", {
    got: verification,
    want: "a chain that ends in the mesh CA, valid now, for client authentication",
    hint: HINT,
  });
}
