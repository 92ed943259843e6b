import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { EndorsementCache, type CachedAnswer } from "../../attestation/endorsements/cache.ts";
import { EndorsementError } from "../../attestation/endorsements/error.ts";
import type { Network } from "../../attestation/endorsements/fetch.ts";
import { sourceOf } from "../../runtime/source.ts";
import { Allowance } from "./allowance.ts";
import { Counters } from "./counters.ts";
import { proxiedRequest } from "./requests.ts";
import { fetchUpstream, type Upstreams } from "./upstreams.ts";

/**
 * A cache in front of AMD's and Intel's services, for CONTRAST_COLLATERAL_PROXY. It answers what `requests.ts` lists and
 * nothing else, and passes on only what is of the kind that was asked for. Nobody trusts it: what it answers is signed, and
 * whoever gets it verifies that. It can refuse, and it can answer what was valid before, as long as that is valid.
 */
export interface ProxyOptions {
  readonly network: Network;
  /** Where to keep answers. */
  readonly directory: string | undefined;
  readonly upstreams: Upstreams;
  /** Requests in a minute about single chips and platforms, of one source and to vendors in all. */
  readonly perMinute: number;
  readonly warn: (line: string) => void;
}

const GET = new Set(["GET", "HEAD"]);
const MOST_CONNECTIONS = 512;
const HEAD_BYTES = 8 * 1024;
const HEAD_MS = 10_000;
const IDLE_MS = 15_000;
/** When a client that was refused for now may ask again. */
const RETRY_SECONDS = "10";
/** One vendor for all sources together: this many times what one source may ask. */
const SOURCES = 4;

export function collateralProxy(options: ProxyOptions): Server {
  const counters = new Counters();
  const now = (): number => options.network.now().getTime();
  const ofSource = new Allowance(options.perMinute, now);
  const ofVendors = new Allowance(options.perMinute * SOURCES, now);
  const isAllowed = (url: URL): boolean => {
    const isOpenEnded = proxiedRequest(`/${url.host}${url.pathname}${url.search}`)?.isOpenEnded !== false;
    return !isOpenEnded || ofVendors.take("");
  };
  const fetch = fetchUpstream(options.network.fetch, options.upstreams, isAllowed, (host, status) =>
    counters.upstream(host, status),
  );
  const cache = new EndorsementCache({
    network: { ...options.network, fetch },
    directory: options.directory,
    proxy: undefined,
    onWarning: (message, url, error) =>
      options.warn(`${message} (${url.href}): ${error instanceof Error ? error.message : String(error)}`),
  });

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const target = request.url ?? "";
    if (!GET.has(request.method ?? "")) return end(response, 405, "method_not_allowed");
    if (target === "/healthz") return end(response, 200, "ok");
    if (target === "/metrics") return end(response, 200, counters.print());
    const proxied = proxiedRequest(target);
    if (proxied === undefined) return done(response, 404, "unknown_request");
    if (proxied.isOpenEnded && !ofSource.take(sourceOf(request.socket.remoteAddress ?? "0.0.0.0"))) {
      return done(response, 429, "too_many_requests");
    }
    const renew = request.headers["cache-control"]?.includes("no-cache") === true;
    try {
      pass(response, await cache.get(proxied.endorsement, { renew }), proxied.endorsement.header);
    } catch (error) {
      if (!(error instanceof EndorsementError)) throw error;
      done(response, STATUS[error.code] ?? 502, error.code);
    }
  };

  const done = (response: ServerResponse, status: number, code: string): void => {
    counters.answered(code);
    if (status === 429 || status === 503) response.setHeader("retry-after", RETRY_SECONDS);
    end(response, status, code);
  };

  /** With how old it is: whoever keeps it does not keep it for longer than if the vendor had answered. */
  const pass = (response: ServerResponse, { body, header, fetchedAt, freshFor }: CachedAnswer, name?: string): void => {
    counters.answered("answered");
    const age = Math.max(0, Math.floor((now() - fetchedAt) / 1000));
    response.writeHead(200, {
      "content-type": "application/octet-stream",
      "content-length": body.length,
      "cache-control": `max-age=${Math.floor(freshFor / 1000)}`,
      age: `${age}`,
      ...(name !== undefined && header !== undefined && { [name]: header }),
    });
    response.end(body);
  };

  const limits = { maxHeaderSize: HEAD_BYTES, headersTimeout: HEAD_MS, requestTimeout: HEAD_MS };
  const server = createServer({ ...limits, keepAliveTimeout: IDLE_MS }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      options.warn(error instanceof Error ? error.message : String(error));
      done(response, 500, "internal");
    });
  });
  server.maxConnections = MOST_CONNECTIONS;
  return server;
}

const STATUS: Readonly<Partial<Record<string, number>>> = {
  vendor_refused: 404,
  vendor_unreachable: 503,
  malformed_endorsement: 502,
  endorsement_expired: 502,
};

function end(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) return void response.destroy();
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text.trimEnd()}\n`);
}
