import { once } from "node:events";
import type { Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";

/** Something that accepts connections until it is closed. Closing waits a second for the requests under way. */
export interface Listener {
  readonly port: number;
  close(): Promise<void>;
}

const GRACE_MS = 1000;

/** @param port 0 for any free one */
export async function listenHttp(server: HttpServer, address: string, port: number): Promise<Listener> {
  server.listen(port, address);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, "close");
      server.close();
      const timer = setTimeout(() => server.closeAllConnections(), GRACE_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** @param port 0 for any free one */
export async function listenGrpc(server: GrpcServer, address: string, port: number): Promise<Listener> {
  const authority = `${address.includes(":") ? `[${address}]` : address}:${port}`;
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(authority, ServerCredentials.createInsecure(), (error, number) => {
      if (error === null) resolve(number);
      else reject(error);
    });
  });
  return {
    port: bound,
    async close() {
      const timer = setTimeout(() => server.forceShutdown(), GRACE_MS);
      await new Promise<void>((resolve) => {
        server.tryShutdown(() => resolve());
      });
      clearTimeout(timer);
    },
  };
}
