import type { X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import {
  connect,
  createSecureContext,
  type DetailedPeerCertificate,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import type { EgressRule } from "../../mesh-rules/egress-rules.ts";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import { carriesSan } from "../../mesh-rules/san.ts";
import { failWhereCut } from "./tls/close-notify.ts";
import type { Credentials } from "../credentials/credentials.ts";
import type { CurrentCredentials } from "../credentials/current-credentials.ts";
import { dial } from "./dial.ts";
import { MeshProxyError, reason } from "../faults.ts";
import { Intake, MOST_BYTES, type Reading } from "./tls/wire.ts";
import { DEADLINE_MS, established, type Legs, plainLeg } from "./leg.ts";
import type { Names } from "../names.ts";
import { withoutReadAhead } from "./read-ahead.ts";
import type { Handshakes } from "./route.ts";
import { tlsSettings, type TlsVersion } from "./tls/settings.ts";

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
  readonly reading: Reading;
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
  readonly #where: string;
  /**
   * Of the last full handshake with a peer that was accepted. Resuming it spares both sides the signatures; only that
   * peer can.
   */
  #session: Session | undefined;

  constructor(rule: EgressRule, options: EgressOptions) {
    this.#rule = rule;
    this.#options = options;
    this.#where = formatEndpoint(rule.upstream);
  }

  /**
   * Takes a connection of the application to the upstream.
   *
   * @throws MeshProxyError
   */
  async connect(transport: Socket, { run }: Handshakes): Promise<Legs> {
    const upstream = await dial(this.#rule.upstream, transport, this.#options.names);
    const intake = this.#intake(upstream);
    const { stream, certificate } = await run(async () => this.#secure(upstream, intake, transport));
    const leg = { stream, transport: upstream };
    failWhereCut(leg);
    intake.release();
    return { downstream: plainLeg(transport), upstream: leg, upstreamCertificate: certificate };
  }

  #intake(upstream: Socket): Intake {
    try {
      return new Intake(upstream, `to ${this.#where}`, this.#options.reading);
    } catch (error) {
      upstream.destroy();
      throw error;
    }
  }

  async #secure(upstream: Socket, intake: Intake, downstream: Socket): Promise<Secured> {
    const { host } = this.#rule.upstream;
    const context = this.#options.context();
    const resumable = this.#resumable(context);
    const stream = withoutReadAhead(() =>
      connect({
        socket: upstream,
        host,
        secureContext: context,
        // RFC 6066 §3: a DNS name without the dot at its end, and never an address.
        ...(isIP(host) === 0 ? { servername: host.replace(/\.$/, "") } : {}),
        rejectUnauthorized: true,
        // The mesh CA names workloads, not hosts: any name will do unless the rule pins one, and that is checked below.
        checkServerIdentity: anyName,
        session: resumable?.ticket,
      }),
    );
    // What Node asks for `checkServerIdentity`, and is costly: the whole chain as objects, with three digests of each.
    stream.getPeerCertificate = noCertificate;
    let certificate: X509Certificate | undefined;
    const remember = (ticket: Buffer): void => {
      // In TLS 1.2 a session may be known to others than the two peers (RFC 7627 §1).
      if (certificate === undefined || stream.getProtocol() === "TLSv1.2") return;
      // A session is the peer's certificate and a ticket, in which this side's certificate is.
      if (ticket.length - certificate.raw.length <= LONGEST_TICKET) this.#session = { ticket, context, certificate };
    };
    stream.on("session", remember);
    const done = (): void => intake.done();
    stream.once("secureConnect", done);
    intake.feed(stream);
    const where = this.#where;
    try {
      await established(stream, "secureConnect", downstream, {
        failed: (error) => refusal(error, stream, where),
        late: () =>
          new MeshProxyError("handshake_timeout", `no TLS handshake with the upstream within ${DEADLINE_MS} ms`, {
            where,
          }),
      });
      // A resumed session shows no certificate: it is that of the peer that was accepted when it began. It is not kept
      // anew, or one full handshake would do for ever.
      const isResumed = stream.isSessionReused();
      const peer = this.#identified(isResumed ? resumable?.certificate : stream.getPeerX509Certificate(), where);
      if (isResumed) stream.off("session", remember);
      else certificate = peer;
      return { stream, certificate: peer };
    } catch (error) {
      this.#session = undefined;
      stream.destroy();
      throw error;
    } finally {
      stream.off("secureConnect", done);
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
  #identified(certificate: X509Certificate | undefined, where: string): X509Certificate {
    const { san } = this.#rule;
    if (certificate !== undefined && (san === undefined || carriesSan(certificate, san))) return certificate;
    throw new MeshProxyError("upstream_identity", "the upstream is another workload than the rule names", {
      where,
      got: certificate?.subjectAltName ?? "no name",
      want: san,
      hint: "is the upstream's address right, and does the manifest give that name to its policy?",
    });
  }
}

/**
 * A peer that can't open the ticket any more asks for the whole chain behind it. Both have to fit into what it takes of a
 * handshake; the chain is little longer than the ticket.
 */
const LONGEST_TICKET = MOST_BYTES / 3;

const anyName = (): undefined => undefined;

const noCertificate = (): DetailedPeerCertificate => ({}) as DetailedPeerCertificate;

function refusal(error: Error, stream: TLSSocket, where: string): MeshProxyError {
  if (error instanceof MeshProxyError) return error;
  // Node's types say Error; it is the code of OpenSSL's verification.
  const verification: unknown = stream.authorizationError;
  if (typeof verification === "string") {
    return new MeshProxyError("upstream_untrusted", "the upstream's certificate is not valid in the mesh", {
      where,
      got: verification,
      want: "a chain that ends in the mesh CA, valid now, for server authentication",
      hint: "is it a workload of the same deployment, with the certificate of its Initializer?",
      cause: error,
    });
  }
  return new MeshProxyError("tls_handshake", "the TLS handshake with the upstream failed", {
    where,
    got: reason(error),
    hint: "the upstream must speak TLS on that port, 1.3 unless CONTRAST_TLS_MIN=1.2: does its own mesh proxy serve it?",
    cause: error,
  });
}
