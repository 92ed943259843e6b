import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import { buffer } from "node:stream/consumers";

/** What stands between a browser and a Coordinator, and changes what it likes. */
export interface Liar {
  lie: Lie;
  /** Paths that were asked for. */
  readonly asked: string[];
  readonly close: () => Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

/** @param honest what the Coordinator answers */
export type Lie = (
  path: string,
  honest: () => Promise<Answer>,
  response: ServerResponse,
) => Promise<Answer | undefined>;

/** @param coordinator `host:port` of its HTTP API @param listen loopback, port 80 */
export async function startLiar(coordinator: string, listen: string): Promise<Liar> {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { url = "/", method = "GET" } = request;
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-allow-headers", "content-type");
    if (method === "OPTIONS") {
      response.writeHead(204).end();
      return;
    }
    liar.asked.push(url);
    const body = await buffer(request);
    const honest = async (): Promise<Answer> => {
      const headers = { "content-type": "application/json" };
      const init = method === "POST" ? { method, headers, body: new Uint8Array(body) } : {};
      const got = await fetch(`http://${coordinator}${url}`, init);
      const type = got.headers.get("content-type") ?? "";
      return { status: got.status, type, body: Buffer.from(await got.arrayBuffer()) };
    };
    const told = await liar.lie(url, honest, response);
    if (told === undefined) return;
    response.writeHead(told.status, { "content-type": told.type });
    response.end(told.body);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.listen(80, listen);
  await once(server, "listening");
  const liar: Liar = {
    lie: (_, honest) => honest(),
    asked: [],
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
  return liar;
}
