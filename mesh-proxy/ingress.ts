import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Endpoint } from "../mesh-rules/endpoint.ts";
import type { IngressAllow } from "../mesh-rules/ingress-allow.ts";
import { carriesSan } from "../mesh-rules/san.ts";
import type { SecureLeg, TlsAcceptor } from "./tls/acceptor.ts";
import { dial } from "./upstream/dial.ts";
import { MeshProxyError } from "./base/errors.ts";
import { type Legs, plainLeg } from "./base/leg.ts";
import type { Names } from "./upstream/names.ts";
import { proxyHeader } from "./upstream/proxy-protocol.ts";
import type { Handshakes } from "./route.ts";

export interface IngressOptions {
  /** Who may connect to a port; every workload of the mesh to one that is not among them. */
  readonly allow: readonly IngressAllow[];
  /** Of applications that expect the PROXY protocol. */
  readonly proxyProtocol: readonly number[];
  readonly names: Names;
}

/**
 * The way from outside to the application, which hears of a connection only when its TLS handshake has succeeded and its
 * peer may connect.
 */
export class Ingress {
  readonly #allowed: ReadonlyMap<number, readonly string[]>;
  readonly #proxyProtocol: ReadonlySet<number>;
  readonly #names: Names;

  constructor({ allow, proxyProtocol, names }: IngressOptions) {
    this.#allowed = new Map(allow.map(({ port, sans }) => [port, sans]));
    this.#proxyProtocol = new Set(proxyProtocol);
    this.#names = names;
  }

  /**
   * @param acceptor undefined: the connection is passed through untouched
   * @throws MeshProxyError
   */
  async connect(
    transport: Socket,
    acceptor: TlsAcceptor | undefined,
    application: Endpoint,
    handshakes: Handshakes,
  ): Promise<Legs> {
    const secure = acceptor && (await this.#secure(transport, acceptor, handshakes));
    // Also of a resumed session: which port it was begun at does not matter.
    this.#requireAllowed(application.port, secure?.stream);
    // Now, because a connection that is gone can't say any more where it came from.
    const header = this.#proxyProtocol.has(application.port) ? proxyHeader(transport, secure?.stream) : undefined;
    const upstream = await dial(application, transport, this.#names);
    if (header !== undefined) upstream.write(header);
    secure?.intake.release();
    return { downstream: secure ?? plainLeg(transport), upstream: plainLeg(upstream) };
  }

  async #secure(transport: Socket, acceptor: TlsAcceptor, { source, run }: Handshakes): Promise<SecureLeg> {
    const intake = await acceptor.begin(transport, source);
    try {
      return await run(async () => acceptor.accept(transport, intake));
    } finally {
      intake.close();
    }
  }

  #requireAllowed(port: number, stream: TLSSocket | undefined): void {
    const sans = this.#allowed.get(port);
    if (sans === undefined) return;
    const certificate = stream?.getPeerX509Certificate();
    if (certificate !== undefined && sans.some((san) => carriesSan(certificate, san))) return;
    throw new MeshProxyError("client_identity", "the client is another workload than those that may connect", {
      where: `port ${port}`,
      got: certificate?.subjectAltName ?? "no name",
      want: sans.join(" or "),
      hint: "name it in CONTRAST_INGRESS_ALLOW if it may connect",
    });
  }
}
