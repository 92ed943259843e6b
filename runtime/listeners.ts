import {
  type AddressInfo,
  createServer,
  type ListenOptions,
  type Server,
  type ServerOpts,
  type Socket,
} from "node:net";

/**
 * Listens on one port with several sockets. An event loop of libuv accepts one connection of a socket in each round: with
 * one socket a crowd that connects faster than that is a queue for everybody, however fast each of it is turned away. The
 * kernel spreads connections over sockets with SO_REUSEPORT (socket(7)).
 */
const SOCKETS = 16;

/** How many connections the kernel keeps for each until they are accepted: one that it drops tries again after a second. */
const BACKLOG = 1024;

export interface Listeners {
  readonly port: number;
  /** Listens no more. Resolves when all connections have ended. */
  close(): Promise<void>;
}

/** @throws Error of `listen`, EADDRINUSE also where the other one would share the port */
export async function listenOnMany(
  { port, host }: { readonly port: number; readonly host: string | undefined },
  options: ServerOpts,
  onConnection: (socket: Socket) => void,
): Promise<Listeners> {
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  };
  // Two programs that share a port by mistake would each get half of the connections.
  if (port !== 0) await closed(await listen(createServer(), { port, host }));
  try {
    for (let index = 0; index < SOCKETS; index++) {
      const shared = { host, port: portOf(servers[0]) ?? port, backlog: BACKLOG, reusePort: true };
      servers.push(await listen(createServer(options, onConnection), shared));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { port: portOf(servers[0]) ?? port, close };
}

function listen(server: Server, options: Omit<ListenOptions, "host"> & { host: string | undefined }): Promise<Server> {
  return new Promise((resolve, reject) => {
    // Not once: whatever happens later to a single connection must not end the process.
    server.on("error", reject);
    server.listen(options, () => resolve(server));
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function portOf(server: Server | undefined): number | undefined {
  return (server?.address() as AddressInfo | null | undefined)?.port;
}
