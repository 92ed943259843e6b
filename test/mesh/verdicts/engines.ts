import { once } from "node:events";
import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import type { EngineName } from "../../../mesh-proxy/observe/metrics.ts";
import type { Mesh, Workload } from "../../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../../mesh-proxies.ts";

/** Asks an engine what it thinks of a peer. */

const PROXY = { native: "127.85.1.1", streams: "127.85.1.2" } as const;
const APPLICATION = "127.85.1.3";
const UPSTREAM = "127.85.1.4";

/** OpenSSL of these tests may show what it would not show by default. */
const LAX = { ciphers: "DEFAULT@SECLEVEL=0", sigalgs: undefined } as const;

export interface Judge {
  /** `served`, or the code. */
  readonly client: (peer: Workload) => Promise<string>;
  readonly upstream: (peer: Workload) => Promise<string>;
}

/**
 * The mesh needs to have no more than its CA.
 *
 * @param name that peers must carry; undefined: any workload will do
 */
export async function judge(
  engine: EngineName,
  mesh: Pick<Mesh, "meshCa">,
  own: Workload,
  name?: string,
): Promise<Judge> {
  const host = PROXY[engine];
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const upstreamPort = await freePort(UPSTREAM);
  const proxy = await startLiveProxy(
    mesh as Mesh,
    own,
    {
      ...bindIngress(host, APPLICATION, port),
      CONTRAST_EGRESS_PROXY_CONFIG: `up#${host}:${upstreamPort}#${UPSTREAM}:${upstreamPort}${name === undefined ? "" : `#${name}`}`,
      ...(name === undefined ? {} : { CONTRAST_INGRESS_ALLOW: `${port}=${name}` }),
    },
    { engine },
  );
  return {
    client: async (peer) => {
      const socket = connectSecurely(mesh as Mesh, peer, { host, port, ciphers: LAX.ciphers });
      return verdict(proxy, socket);
    },
    async upstream({ certChain: cert, key }) {
      const server = createServer({ cert, key, ciphers: LAX.ciphers });
      const open = new Set<Socket>();
      server.on("connection", (socket: Socket) => void open.add(socket.on("error", () => {})));
      server.on("secureConnection", (socket: TLSSocket) => void socket.on("error", () => {}).pipe(socket));
      server.on("tlsClientError", () => {});
      server.listen(upstreamPort, UPSTREAM);
      await once(server, "listening");
      try {
        return await verdict(proxy, connectPlain(host, upstreamPort));
      } finally {
        for (const socket of open) socket.destroy();
        server.close();
        await once(server, "close");
      }
    },
  };
}

async function verdict({ lines }: StartedProxy, socket: Socket): Promise<string> {
  const seen = lines.length;
  let from: number | undefined;
  socket.once("connect", () => (from = socket.localPort));
  socket.write("hello");
  const { promise: answer, resolve } = Promise.withResolvers<string>();
  socket.once("data", () => resolve("served"));
  const refused = ending(socket);
  const outcome = await Promise.race([answer, refused]);
  socket.destroy();
  if (outcome === "served") return outcome;
  for (let times = 0; times < 100; times++) {
    const line = lines.slice(seen).find((line) => "code" in line && String(line["peer"]).endsWith(`:${from}`));
    if (line !== undefined) return String(line["code"]);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return `refused without a word (${outcome})`;
}
