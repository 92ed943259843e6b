import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIP } from "node:net";
import type { BuiltPage } from "./page-file.ts";

/**
 * Serves one page, and nothing else: no path leads to a file, no request has a body, and no name leads here but
 * `localhost`, so that no site can have its own name resolve to this address and take this origin for its own (DNS
 * rebinding always needs a name).
 */
export function pageServer({ bytes, policy }: BuiltPage): Server {
  const headers = {
    "content-type": "text/html; charset=utf-8",
    "content-length": bytes.length,
    // What a meta element can't say (CSP Level 3 §3.3): nobody frames the page.
    "content-security-policy": `${policy}; frame-ancestors 'none'`,
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
  };
  const server = createServer({ maxHeaderSize: 8 * 1024, ...LIMITS }, (request, response) => {
    const { status, more = {} } = verdictOn(request);
    for (const [name, value] of Object.entries({ ...ALWAYS, ...more })) response.setHeader(name, value);
    if (status !== 200) {
      refuse(response, status);
      return;
    }
    response.writeHead(200, headers);
    response.end(request.method === "HEAD" ? undefined : bytes);
  });
  server.maxConnections = 64;
  server.maxRequestsPerSocket = 100;
  // What is no HTTP, or too slow: there is nobody to explain it to.
  server.on("clientError", (_, socket) => void socket.destroy());
  return server;
}

/** In milliseconds. A page's browser sends a few hundred bytes. */
const LIMITS = { connectionsCheckingInterval: 500, headersTimeout: 3000, requestTimeout: 3000, keepAliveTimeout: 5000 };

const ALWAYS = {
  "cache-control": "no-store",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

interface Verdict {
  readonly status: 200 | 404 | 405 | 413 | 421;
  readonly more?: Readonly<Record<string, string>>;
}

function verdictOn({ headers, method, url }: IncomingMessage): Verdict {
  if (!isOwnHost(headers.host ?? "")) return { status: 421 };
  if (method !== "GET" && method !== "HEAD") return { status: 405, more: { allow: "GET, HEAD" } };
  if (headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) !== 0)
    return { status: 413 };
  return { status: url === "/" || url === "/index.html" ? 200 : 404 };
}

/** RFC 9110 §7.2, with any port: a tunnel may have another one. */
function isOwnHost(host: string): boolean {
  const [, ipv6, name = ""] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]+))(?::\d{1,5})?$/.exec(host) ?? [];
  return ipv6 === undefined ? isIP(name) === 4 || name.toLowerCase() === "localhost" : isIP(ipv6) === 6;
}

const REASONS: Readonly<Record<Exclude<Verdict["status"], 200>, string>> = {
  404: "there is one page, /",
  405: "the page is for reading",
  413: "nothing is read here",
  421: "this is no address of the page: use the one that contrast printed",
};

function refuse(response: ServerResponse, status: Exclude<Verdict["status"], 200>): void {
  // A body that nobody reads would be taken for the next request.
  response.shouldKeepAlive = false;
  const body = `${REASONS[status]}\n`;
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": body.length,
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  });
  response.end(body);
}
