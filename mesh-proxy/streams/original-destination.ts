import { isIPv4, type Socket } from "node:net";
import type { Endpoint } from "../../mesh-rules/endpoint.ts";
import type { OriginalTarget } from "../plan.ts";
import { ConnectionFault } from "./fault.ts";

/**
 * Where the client of a redirected connection wanted to go: the connection's own local address, which is an address and
 * a port of this pod.
 *
 * @throws ConnectionFault `not_redirected`
 */
export function originalDestination(transport: Socket, { own, only }: OriginalTarget): Endpoint {
  const { localAddress: host = "", localPort: port = 0 } = transport;
  // A connection to the proxy's own port, made inside the pod or redirected, would lead the proxy to itself. And a pod's
  // loopback is for the pod: whoever gets here by it, the application did not offer that to the world.
  const isMeant = !own.includes(port) && only?.includes(port) !== false;
  if (isMeant && !isLoopback(host)) return { host, port };
  throw new ConnectionFault("not_redirected");
}

function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}
