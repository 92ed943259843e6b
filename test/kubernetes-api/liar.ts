import { once } from "node:events";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { Agent, createServer, request, type Server } from "node:https";
import { buffer } from "node:stream/consumers";
import type { KubernetesApi } from "./server.ts";

/** What the host makes of its API server: it has the server's key, and answers what it likes. */

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: string;
}

export interface TrueAnswer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
}

/**
 * Answers a request in place of the API server.
 *
 * @param truth asks the real one
 */
export type Lie = (asked: Asked, answer: ServerResponse, truth: () => Promise<TrueAnswer>) => Promise<void> | void;

export class Liar {
  readonly asked: Asked[] = [];
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: true });
  #lie: Lie | undefined;

  private constructor(api: KubernetesApi) {
    this.#server = createServer(api.identity, (incoming, answer) => {
      void this.#answer(api, incoming, answer).catch(() => answer.destroy());
    });
  }

  /** @param address one of those in the API server's certificate */
  static async open(api: KubernetesApi, address: string): Promise<Liar> {
    const liar = new Liar(api);
    liar.#server.listen(Number(api.port), address);
    await once(liar.#server, "listening");
    return liar;
  }

  /** @param lie undefined: it tells the truth */
  tell(lie: Lie | undefined): void {
    this.asked.length = 0;
    this.#lie = lie;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
  }

  async #answer(api: KubernetesApi, incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { method = "", url: path = "", headers } = incoming;
    const body = await buffer(incoming);
    const asked = { method, path, body: body.toString() };
    this.asked.push(asked);
    const truth = async (): Promise<TrueAnswer> => {
      const sent = request({
        host: api.address,
        port: api.port,
        ca: api.ca,
        agent: this.#agent,
        method,
        path,
        headers,
      });
      sent.end(body);
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      return { status: response.statusCode ?? 0, headers: response.headers, body: await buffer(response) };
    };
    if (this.#lie !== undefined) return this.#lie(asked, answer, truth);
    const { status, headers: own, body: bytes } = await truth();
    answer.writeHead(status, own).end(bytes);
  }
}

/** Changes what the API server says of one object. */
export function changed(name: string, change: (object: ConfigMap) => unknown): Lie {
  return async ({ method, path }, answer, truth) => {
    const { status, headers, body } = await truth();
    const isIt = method === "GET" && path.endsWith(`/${name}`) && status === 200;
    const bytes = isIt ? Buffer.from(JSON.stringify(change(JSON.parse(body.toString()) as ConfigMap))) : body;
    const { "transfer-encoding": _, ...others } = headers;
    answer.writeHead(status, { ...others, "content-length": bytes.length }).end(bytes);
  };
}

export interface ConfigMap {
  kind: string;
  metadata: { name: string; labels: Record<string, string>; annotations?: Record<string, string> };
  binaryData?: Record<string, string>;
}
