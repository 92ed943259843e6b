import { createServer, type Server } from "node:net";
import { resolve } from "node:path";
import { sha256Hex } from "../../bytes/sha256.ts";
import { NewestConnections } from "../../runtime/newest-connections.ts";
import type { Environment } from "../../runtime/environment.ts";

/**
 * Where `mesh-proxy healthcheck` asks a proxy without an admin port: somebody listens here for as long as the proxy is
 * ready. An abstract socket (unix(7)) belongs to the pod's network namespace, so that it takes no port, no file system
 * that can be written, and nobody outside the pod reaches it. Proxies of one namespace differ in their certificates.
 */
export function healthSocket({ CONTRAST_TLS_CONFIG_DIR: directory = "/tls-config" }: Environment): string {
  return `\0contrast-mesh-proxy-${sha256Hex(Buffer.from(resolve(directory))).slice(0, 16)}`;
}

/** Somebody in the pod may hold them open. */
const MOST_CONNECTIONS = 32;
const CONNECTION_MS = 5_000;

/** @returns undefined where another proxy has it, or the system knows no such sockets: then only the probes are missing */
export async function openHealthSocket(environment: Environment): Promise<Server | undefined> {
  const { promise, resolve: done } = Promise.withResolvers<Server | undefined>();
  const open = new NewestConnections(MOST_CONNECTIONS, CONNECTION_MS);
  const server = createServer((socket) => {
    open.add(socket.on("error", () => {}));
    socket.end();
  });
  server.on("error", () => done(undefined));
  server.listen(healthSocket(environment), () => done(server));
  return promise;
}
