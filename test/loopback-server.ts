import type { Server } from "node:http";
import type { Server as HttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface LoopbackServer {
  readonly port: number;
  /** Stops listening and ends all connections; done anyway when the test is over. */
  readonly close: () => Promise<void>;
}

/** Has a server of a test listen on a free port of 127.0.0.1. */
export async function listenOnLoopback(server: Server | HttpsServer): Promise<LoopbackServer> {
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  const close = (): Promise<void> => {
    server.close();
    server.closeAllConnections();
    return closed;
  };
  onTestFinished(close);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as AddressInfo).port, close };
}
