import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { listenOnLoopback } from "../../test/loopback-server.ts";
import { EndorsementCache } from "./cache.ts";
import type { Network } from "./fetch.ts";

/** For tests: a service on loopback that stands in for the vendors', as a collateral proxy does. */
export interface TestService {
  readonly url: URL;
  /** By vendor's host and path with the query: what it answers. Everything else it does not have. */
  readonly answers: Map<string, (response: ServerResponse, request: IncomingMessage) => void>;
  /** What it was asked for, in order. */
  readonly requests: string[];
  /** Stops listening, as a vendor that is down. */
  close(): Promise<void>;
}

export const PREFIX = "/some/prefix";

export async function startService(): Promise<TestService> {
  const answers: TestService["answers"] = new Map();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? "").replace(`${PREFIX}/`, "");
    requests.push(path);
    const answer = answers.get(path);
    if (answer === undefined) response.writeHead(404).end();
    else answer(response, request);
  });
  const { port, close } = await listenOnLoopback(server);
  return { url: new URL(`http://127.0.0.1:${port}${PREFIX}/`), answers, requests, close };
}

export function answerWith(
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): (response: ServerResponse) => void {
  return (response) => response.writeHead(200, headers).end(body);
}

/** A real network, with a clock that a test moves and sleeps that it only counts. */
export interface TestNetwork extends Network {
  time: Date;
  readonly slept: number[];
}

export function testNetwork(time: Date): TestNetwork {
  const slept: number[] = [];
  const network: TestNetwork = {
    time,
    slept,
    fetch,
    now: () => network.time,
    random: () => 0.5,
    sleep: (ms) => Promise.resolve(slept.push(ms)),
  };
  return network;
}

/** A cache that reaches every vendor through the service. */
export function testCache(
  { url }: TestService,
  network: Network,
  directory?: string,
): { readonly cache: EndorsementCache; readonly warnings: string[] } {
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  return { cache: new EndorsementCache({ network, directory, proxy: url, onWarning }), warnings };
}
