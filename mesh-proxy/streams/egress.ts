import type { X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import {
  connect,
  createSecureContext,
  type DetailedPeerCertificate,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import type { Credentials } from "../credentials/credentials.ts";
import type { CurrentCredentials } from "../credentials/current-credentials.ts";
import { reason } from "../faults.ts";
import { MOST_HANDSHAKE_BYTES } from "../limits/numbers.ts";
import type { EgressRule } from "../../mesh-rules/egress-rules.ts";
import { carriesSan } from "../../mesh-rules/san.ts";
import type { Names } from "../names.ts";
import { dial } from "./dial.ts";
import { ConnectionFault } from "./fault.ts";
import { type Legs, plainLeg } from "./leg.ts";
import { ignore, READ_AHEAD, whileWaited } from "./tcp.ts";
import type { Handshakes } from "./route.ts";
import { tlsSettings, type TlsVersion } from "./tls/settings.ts";
import { Wire } from "./tls/wire.ts";

/** @returns the client side of mutual TLS, one for all upstreams: another one for each certificate set */
export function egressContext(credentials: CurrentCredentials, oldestTls: TlsVersion): () => SecureContext {
  const make = (current: Credentials): SecureContext => createSecureContext(tlsSettings(current, oldestTls));
  let context = make(credentials.current);
  credentials.onChange((current) => (context = make(current)));
  return () => context;
}

export interface EgressOptions {
  readonly context: () => SecureContext;
  readonly names: Names;
  readonly now: () => Date;
}

interface Session {
  readonly ticket: Buffer;
  /** Under which the peer was accepted: what another certificate set trusts may be something else. */
  readonly context: SecureContext;
  /** The peer's. */
  readonly certificate: X509Certificate;
}

interface Secured {
  readonly stream: TLSSocket;
  readonly certificate: X509Certificate;
}

/** Connections of the application to one upstream of the mesh. */
export class Egress {
  readonly #rule: EgressRule;
  readonly #options: EgressOptions;
  /**
   * Of the last full handshake with a peer that was accepted. Resuming it spares both sides the signatures; only that
   * peer can.
   */
  #session: Session | undefined;

  constructor(rule: EgressRule, options: EgressOptions) {
    this.#rule = rule;
    this.#options = options;
  }

  /**
   * Takes a connection of the application to the upstream.
   *
   * @throws ConnectionFault
   */
  async connect(transport: Socket, { run }: Handshakes): Promise<Legs> {
    const upstream = await dial(this.#rule.upstream, transport, this.#options.names);
    const wire = new Wire(upstream);
    try {
      const { stream, certificate } = await run(async () => this.#secure(wire, transport));
      wire.release();
      const leg = { stream, transport: upstream, wire };
      return { downstream: plainLeg(transport), upstream: leg, upstreamCertificate: certificate };
    } catch (error) {
      wire.destroy();
      throw error;
    }
  }

  async #secure(wire: Wire, downstream: Socket): Promise<Secured> {
    const { host } = this.#rule.upstream;
    const context = this.#options.context();
    const resumable = this.#resumable(context);
    // Node's types don't know that highWaterMark is an option here, too.
    const more = { highWaterMark: READ_AHEAD };
    const stream = connect({
      ...more,
      socket: wire,
      host,
      secureContext: context,
      // RFC 6066 §3: a DNS name without the dot at its end, and never an address.
      ...(isIP(host) === 0 ? { servername: host.replace(/\.$/, "") } : {}),
      rejectUnauthorized: true,
      // The mesh CA names workloads, not hosts: any name will do unless the rule pins one, and that is checked below.
      checkServerIdentity: () => undefined,
      session: resumable?.ticket,
    });
    // Node asks for it, for `checkServerIdentity`. With a key on a curve that NIST has no name for, as of brainpool, that ends
    // the process (Node 26.10, X509ToObject in src/crypto/crypto_x509.cc).
    stream.getPeerCertificate = noCertificate;
    let certificate: X509Certificate | undefined;
    const remember = (ticket: Buffer): void => {
      // In TLS 1.2 a session may be known to others than the two peers (RFC 7627 §1).
      if (certificate === undefined || stream.getProtocol() === "TLSv1.2") return;
      // A session is the peer's certificate and a ticket, in which this side's certificate is.
      if (ticket.length - certificate.raw.length <= LONGEST_TICKET) this.#session = { ticket, context, certificate };
    };
    stream.on("session", remember);
    try {
      await established(stream, wire, downstream);
      // A resumed session shows no certificate: it is that of the peer that was accepted when it began. It is not kept
      // anew, or one full handshake would do for ever.
      const isResumed = stream.isSessionReused();
      const peer = this.#identified(isResumed ? resumable?.certificate : stream.getPeerX509Certificate());
      if (isResumed) stream.off("session", remember);
      else certificate = peer;
      return { stream, certificate: peer };
    } catch (error) {
      this.#session = undefined;
      stream.destroy();
      throw error;
    }
  }

  #resumable(context: SecureContext): Session | undefined {
    const session = this.#session;
    if (
      session !== undefined &&
      (session.context !== context || session.certificate.validToDate < this.#options.now())
    ) {
      this.#session = undefined;
    }
    return this.#session;
  }

  /** The peer's certificate, which carries the pinned name if there is one. */
  #identified(certificate: X509Certificate | undefined): X509Certificate {
    const { san } = this.#rule;
    if (certificate !== undefined && (san === undefined || carriesSan(certificate, san))) return certificate;
    throw new ConnectionFault("upstream_identity", certificate?.subjectAltName ?? "no name");
  }
}

/**
 * A peer that can't open the ticket any more asks for the whole chain behind it. Both have to fit into what it takes of a
 * handshake; the chain is little longer than the ticket.
 */
const LONGEST_TICKET = MOST_HANDSHAKE_BYTES / 3;

/** Waits until TLS is secure. @throws ConnectionFault */
async function established(stream: TLSSocket, wire: Wire, downstream: Socket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const secure = (): void => {
    wire.done();
    resolve();
  };
  const failed = (error: Error): void => reject(refusal(error, stream));
  const closed = (): void => failed(new Error("closed"));
  // Also of an error that comes after this function.
  stream.on("error", ignore);
  stream.on("secureConnect", secure).on("error", failed).on("close", closed);
  try {
    await whileWaited(downstream, () => new ConnectionFault("handshake_timeout"), promise);
  } finally {
    stream.off("secureConnect", secure).off("error", failed).off("close", closed);
  }
}

const noCertificate = (): DetailedPeerCertificate => ({}) as DetailedPeerCertificate;

function refusal(error: Error, stream: TLSSocket): ConnectionFault {
  if (error instanceof ConnectionFault) return error;
  // Node's types say Error; it is the code of OpenSSL's verification.
  const verification: unknown = stream.authorizationError;
  if (typeof verification === "string") return new ConnectionFault("upstream_untrusted", verification);
  return new ConnectionFault("tls_handshake", reason(error));
}
