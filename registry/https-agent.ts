import { Agent } from "node:https";
import type { Duplex } from "node:stream";
import type { Environment } from "../runtime/environment.ts";

/**
 * Connections by TLS, through the proxy that HTTPS_PROXY and NO_PROXY name, which Node's own agent takes. That one's
 * `destroy` forgets connections to a proxy that has not answered yet; they would keep the program from ending.
 */
export class ProxiedAgent extends Agent {
  readonly #sockets = new Set<Duplex>();

  /** @throws where HTTPS_PROXY is no URL; the error has all of it, with a password that is in it */
  constructor(environment: Environment) {
    super({ keepAlive: true, proxyEnv: environment });
  }

  override createConnection(...parameters: Parameters<Agent["createConnection"]>): Duplex | null | undefined {
    const socket = super.createConnection(...parameters);
    if (socket) {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    }
    return socket;
  }

  override destroy(): void {
    super.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }
}
