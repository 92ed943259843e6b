import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Endpoint } from "../../mesh-rules/endpoint.ts";
import { carriesSan } from "../../mesh-rules/san.ts";
import type { Names } from "../names.ts";
import type { PortPlan } from "../plan.ts";
import { dial } from "./dial.ts";
import { ConnectionFault } from "./fault.ts";
import { type Legs, plainLeg } from "./leg.ts";
import { proxyHeader } from "./proxy-protocol.ts";
import type { Handshakes } from "./route.ts";
import type { SecureLeg, TlsAcceptor } from "./tls/acceptor.ts";

/** Where a connection goes, and what holds there. */
export interface Application extends Omit<PortPlan, "rule"> {
  readonly to: Endpoint;
}

/**
 * The way from outside to the application, which hears of a connection only when its TLS handshake has succeeded and its
 * peer may connect.
 */
export class Ingress {
  readonly #names: Names;

  constructor(names: Names) {
    this.#names = names;
  }

  /**
   * @param acceptor undefined: the connection is passed through untouched
   * @throws ConnectionFault
   */
  async connect(
    transport: Socket,
    acceptor: TlsAcceptor | undefined,
    { to, allowed, proxyProtocol }: Application,
    handshakes: Handshakes,
  ): Promise<Legs> {
    const secure = acceptor && (await this.#secure(transport, acceptor, handshakes));
    // Also of a resumed session: which port it was begun at does not matter.
    if (allowed !== undefined) requireAllowed(allowed, secure?.stream);
    // Now, because a connection that is gone can't say any more where it came from.
    const header = proxyProtocol ? proxyHeader(transport, secure?.stream) : undefined;
    const upstream = await dial(to, transport, this.#names);
    if (header !== undefined) upstream.write(header);
    secure?.wire.release();
    return { downstream: secure ?? plainLeg(transport), upstream: plainLeg(upstream) };
  }

  async #secure(transport: Socket, acceptor: TlsAcceptor, { run }: Handshakes): Promise<SecureLeg> {
    const wire = await acceptor.begin(transport);
    return run(async () => acceptor.accept(transport, wire));
  }
}

function requireAllowed(sans: readonly string[], stream: TLSSocket | undefined): void {
  const certificate = stream?.getPeerX509Certificate();
  if (certificate !== undefined && sans.some((san) => carriesSan(certificate, san))) return;
  throw new ConnectionFault("client_identity", certificate?.subjectAltName ?? "no name");
}
