import { once } from "node:events";
import { createServer } from "node:net";
import { ComposeError } from "./engine.ts";

/** The ports of this machine where the deployment answers, by the variable that changes them. */
export type Ports = Readonly<Record<"CONTRAST_WEB_PORT" | "CONTRAST_COORDINATOR_PORT", number>>;

/** @throws ComposeError port_taken */
export async function requireFree(ports: Ports): Promise<void> {
  for (const [variable, port] of Object.entries(ports)) {
    const server = createServer();
    try {
      await once(server.listen(port, "127.0.0.1"), "listening");
    } catch (error) {
      const hint = `set ${variable} to a free port, or end what listens there: npm run compose -- --down`;
      throw new ComposeError("port_taken", "a port is in use", { where: `127.0.0.1:${port}`, hint, cause: error });
    }
    server.close();
  }
}
