import type { Server } from "node:net";
import { type Endpoint, formatEndpoint } from "../mesh-rules/endpoint.ts";
import { MeshProxyError, reason } from "./faults.ts";

/** An address to listen on; `fd` is a socket that does so already. */
export interface ListenAddress extends Endpoint {
  readonly fd?: number;
}

/**
 * @param at without a host: all addresses
 * @throws MeshProxyError `listen`
 */
export async function listening(
  server: Server,
  at: { readonly host?: string; readonly port: number; readonly fd?: number },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(at.fd === undefined ? at : { fd: at.fd }, resolve);
  try {
    await promise;
  } catch (error) {
    throw listenError(at, error as Error);
  }
  server.off("error", reject);
}

/** @param error of the system, with its code or with that as its message */
export function listenError(at: { readonly host?: string; readonly port: number }, error: Error): MeshProxyError {
  const code = reason(error);
  const got = code in HINTS || !(error.message in HINTS) ? code : error.message;
  return new MeshProxyError("listen", "can't listen", {
    where: formatEndpoint({ host: "*", ...at }),
    got,
    hint: HINTS[got] ?? "choose another address or port",
    cause: error,
  });
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there: stop it, or choose another address or port",
  EADDRNOTAVAIL: "this machine does not have that address: choose one it has",
  EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a higher port",
};
