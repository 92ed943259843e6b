import type { X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import { connect, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import type { Credentials } from "./credentials.ts";
import type { EgressRule } from "../mesh-rules/egress-rules.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { MeshProxyError, reason } from "./errors.ts";
import { DEADLINE_MS, dial, established, type Legs, plainLeg } from "./leg.ts";
import { carriesSan } from "../mesh-rules/san.ts";

/** The client side of mutual TLS: one context for all upstreams. */
export function createEgressContext({ certChain, key, meshCa }: Credentials): SecureContext {
  return createSecureContext({ cert: certChain, key: key.reveal(), ca: meshCa, minVersion: "TLSv1.3" });
}

/** Connections of the application to one upstream of the mesh. */
export class Egress {
  readonly #rule: EgressRule;
  readonly #context: SecureContext;
  readonly #now: () => Date;
  /**
   * Of the last full handshake with a peer that was accepted, and how long that peer's certificate is valid. Resuming it
   * spares both sides the signatures; only that peer can.
   */
  #session: { readonly ticket: Buffer; readonly notAfter: Date } | undefined;

  constructor(rule: EgressRule, context: SecureContext, now: () => Date) {
    this.#rule = rule;
    this.#context = context;
    this.#now = now;
  }

  /**
   * Takes a connection of the application to the upstream.
   *
   * @throws MeshProxyError
   */
  async connect(transport: Socket): Promise<Legs> {
    const far = await dial(this.#rule.upstream, transport);
    const stream = await this.#secure(far, transport);
    return { near: plainLeg(transport), far: { stream, transport: far } };
  }

  async #secure(far: Socket, near: Socket): Promise<TLSSocket> {
    const { host } = this.#rule.upstream;
    const stream = connect({
      socket: far,
      host,
      secureContext: this.#context,
      // RFC 6066 §3: a DNS name without the dot at its end, and never an address.
      ...(isIP(host) === 0 ? { servername: host.replace(/\.$/, "") } : {}),
      rejectUnauthorized: true,
      // The mesh CA names workloads, not hosts: any name will do unless the rule pins one, and that is checked below.
      checkServerIdentity: () => undefined,
      session: this.#resumable(),
    });
    let certificate: X509Certificate | undefined;
    stream.on("session", (ticket) => {
      if (certificate !== undefined) this.#session = { ticket, notAfter: certificate.validToDate };
    });
    const where = formatEndpoint(this.#rule.upstream);
    try {
      await established(stream, "secureConnect", near, {
        failed: (error) => refusal(error, stream, where),
        late: () =>
          new MeshProxyError("handshake_timeout", `no TLS handshake with the upstream within ${DEADLINE_MS} ms`, {
            where,
          }),
      });
      // A resumed session has no certificate: it is that of a peer that was accepted here. It is not kept anew, or one
      // full handshake would do for ever.
      if (!stream.isSessionReused()) certificate = this.#identified(stream, where);
    } catch (error) {
      this.#session = undefined;
      stream.destroy();
      throw error;
    }
    return stream;
  }

  #resumable(): Buffer | undefined {
    if (this.#session !== undefined && this.#session.notAfter < this.#now()) this.#session = undefined;
    return this.#session?.ticket;
  }

  /** The peer's certificate, which carries the pinned name if there is one. */
  #identified(stream: TLSSocket, where: string): X509Certificate {
    const { san } = this.#rule;
    const certificate = stream.getPeerX509Certificate();
    if (certificate !== undefined && (san === undefined || carriesSan(certificate, san))) return certificate;
    throw new MeshProxyError("upstream_identity", "the upstream is another workload than the rule names", {
      where,
      got: certificate?.subjectAltName ?? "no name",
      want: san,
      hint: "is the upstream's address right, and does the manifest give that name to its policy?",
    });
  }
}

function refusal(error: Error, stream: TLSSocket, where: string): MeshProxyError {
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
    hint: "the upstream must speak TLS 1.3 on that port: does its own mesh proxy serve it?",
    cause: error,
  });
}
