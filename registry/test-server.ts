import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { listenOnLoopback } from "../test/loopback-server.ts";
import type { Content, TestImage } from "./test-image.ts";

/** For tests: servers on loopback that answer as a registry, or as a registry should not. */

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export interface TestServer {
  /** `127.0.0.1:port` */
  readonly host: string;
  /** `METHOD /path` of each request, in order, and what it showed. */
  readonly requests: string[];
  readonly authorizations: (string | undefined)[];
  readonly close: () => Promise<void>;
}

export async function startServer(handler: Handler): Promise<TestServer> {
  const requests: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    authorizations.push(request.headers.authorization);
    handler(request, response);
  });
  const { port, close } = await listenOnLoopback(server);
  return { host: `127.0.0.1:${port}`, requests, authorizations, close };
}

/** A registry of the repository `app`. `answers` come before what it would say itself, by `METHOD /path below app`. */
export function registryOf(
  contents: readonly Content[],
  tags: Readonly<Record<string, Content>> = {},
  answers: Readonly<Record<string, Handler>> = {},
): Handler {
  const known = new Map(contents.flatMap((content) => paths(content.digest, content)));
  for (const [tag, content] of Object.entries(tags)) known.set(`manifests/${tag}`, content);
  return (request, response) => {
    const path = (request.url ?? "").replace("/v2/app/", "");
    const answer = answers[`${request.method} ${path}`];
    if (answer !== undefined) return answer(request, response);
    const content = known.get(path);
    if (content === undefined) return void response.writeHead(404).end();
    const { mediaType, bytes, digest } = content;
    const headers = { "content-type": mediaType, "content-length": bytes.length, "docker-content-digest": digest };
    response.writeHead(200, headers).end(request.method === "HEAD" ? undefined : bytes);
  };
}

/** A registry that has one image, under the tag `1` of `app`. */
export function registryOfImage(
  { manifest, config }: TestImage,
  answers: Readonly<Record<string, Handler>> = {},
): Handler {
  return registryOf([manifest, config], { 1: manifest }, answers);
}

function paths(digest: string, content: Content): [string, Content][] {
  return [
    [`manifests/${digest}`, content],
    [`blobs/${digest}`, content],
  ];
}

export function status(code: number, headers: Readonly<Record<string, string>> = {}): Handler {
  return (_, response) => void response.writeHead(code, headers).end();
}

export function json(document: unknown): Handler {
  return (_, response) =>
    void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
}
