import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";

/** What is between a client and the HTTP API of a Coordinator, and does what it likes with every request. */
export interface MeddlingProxy {
  readonly url: string;
  /** Bodies of `POST /v1/set`, with the heads that they came with. */
  readonly seen: { readonly headers: IncomingMessage["headers"]; readonly body: string }[];
  meddle: Meddle;
  readonly close: () => Promise<void>;
}

export interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

/** @returns what is answered @param pass sends it on, with another body or as it is */
export type Meddle = (path: string, body: string, pass: (body?: string) => Promise<Reply>) => Promise<Reply>;

export const HONEST: Meddle = (_path, _body, pass) => pass();

export function json(body: unknown, status = 200): Reply {
  const type = status === 200 ? "application/json" : "application/problem+json";
  return { status, type, body: Buffer.from(JSON.stringify(body)) };
}

/** @param address loopback, nobody else's @param upstream host of the Coordinator */
export async function startMeddlingProxy(address: string, upstream: string): Promise<MeddlingProxy> {
  const server = createServer((asked, response) => {
    void (async () => {
      const body = (await bytesOf(asked)).toString();
      const { method, url = "", headers } = asked;
      if (url === "/v1/set") proxy.seen.push({ headers, body });
      const pass = (other = body): Promise<Reply> => send(upstream, { method, path: url, headers }, other);
      const { status, type, body: answer } = await proxy.meddle(url, body, pass);
      response.writeHead(status, { "content-type": type }).end(answer);
    })().catch(() => response.destroy());
  });
  const proxy: MeddlingProxy = {
    url: `http://${address}:8080`,
    seen: [],
    meddle: HONEST,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
  server.listen(8080, address);
  await once(server, "listening");
  return proxy;
}

async function send(
  host: string,
  { method, path, headers }: Pick<IncomingMessage, "method" | "headers"> & { readonly path: string },
  body: string,
): Promise<Reply> {
  const length = method === "POST" ? { "content-length": String(Buffer.byteLength(body)) } : {};
  const asked = request({ host, port: 1314, method, path, headers: { ...headers, ...length }, agent: false });
  asked.end(method === "POST" ? body : undefined);
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return {
    status: response.statusCode ?? 0,
    type: response.headers["content-type"] ?? "",
    body: await bytesOf(response),
  };
}

async function bytesOf(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
