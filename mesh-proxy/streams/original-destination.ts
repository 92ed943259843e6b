import { isIPv4, type Socket } from "node:net";
import { type Endpoint, formatEndpoint } from "../../mesh-rules/endpoint.ts";
import { MeshProxyError } from "../faults.ts";
import type { OriginalTarget } from "../plan.ts";

/**
 * Where the client of a redirected connection wanted to go: the connection's own local address, which is an address and
 * a port of this pod.
 *
 * @throws MeshProxyError `not_redirected`
 */
export function originalDestination(transport: Socket, { own, only }: OriginalTarget): Endpoint {
  const { localAddress: host = "", localPort: port = 0 } = transport;
  // A connection to the proxy's own port, made inside the pod or redirected, would lead the proxy to itself. And a pod's
  // loopback is for the pod: whoever gets here by it, the application did not offer that to the world.
  const isMeant = !own.includes(port) && only?.includes(port) !== false;
  if (isMeant && !isLoopback(host)) return { host, port };
  throw new MeshProxyError("not_redirected", "the connection was not for the application", {
    where: formatEndpoint({ host, port }),
    want: "a connection from outside the pod to an address of the pod",
    hint: "connect to the application's port; the proxy's own ports are not to be called",
  });
}

function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}
