import type { Socket } from "node:net";
import type { TlsAcceptor } from "./acceptor.ts";
import type { Endpoint } from "../mesh-rules/endpoint.ts";
import { dial, type Legs, plainLeg } from "./leg.ts";

/**
 * Takes a connection from outside to the application, which hears of it only when its TLS handshake has succeeded.
 *
 * @param acceptor undefined: the connection is passed through untouched
 * @throws MeshProxyError
 */
export async function connectIngress(
  transport: Socket,
  acceptor: TlsAcceptor | undefined,
  application: Endpoint,
): Promise<Legs> {
  const near = acceptor === undefined ? plainLeg(transport) : await acceptor.accept(transport);
  const far = await dial(application, transport);
  return { near, far: plainLeg(far) };
}
