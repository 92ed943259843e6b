import { AttestError } from "./attest-error.ts";
import type { DocumentKind } from "./published-history.ts";

/** Every path of the API, as the OpenAPI document names it, and its method. */
export const PATHS = {
  "/v1/attest": { method: "POST", operation: "attest" },
  "/v1/history": { method: "GET", operation: "history" },
  "/v1/manifests/{digest}": { method: "GET", operation: "manifests" },
  "/v1/policies/{digest}": { method: "GET", operation: "policies" },
  "/v1/annexes/{digest}": { method: "GET", operation: "annexes" },
  "/v1/set": { method: "POST", operation: "set" },
  "/v1/capabilities": { method: "GET", operation: "capabilities" },
  "/v1/openapi.json": { method: "GET", operation: "openapi" },
} as const;

export type Path = keyof typeof PATHS;
export type Operation = (typeof PATHS)[Path]["operation"];

/** What is asked for; HEAD is a GET whose body is not sent. */
export type Asked =
  | { readonly operation: "attest" }
  | { readonly operation: "set" }
  | { readonly operation: Exclude<Operation, DocumentKind | "attest" | "set"> }
  | { readonly operation: DocumentKind; readonly digest: string }
  /** By a browser, before it sends what a page asks for (Fetch standard, CORS preflight). */
  | { readonly operation: "options" };

export interface Route {
  readonly asked: Asked | undefined;
  /** For the header Allow. */
  readonly allow: string;
}

const PREFIX = "/v1/";
const DIGEST = /^[0-9a-f]{64}$/;

/**
 * One spelling for each path: what escapes something, or adds a query, asks for nothing that there is.
 *
 * @returns `asked` undefined: the path is there, and the method is another
 * @throws AttestError `unknown_path`, `unknown_digest`
 */
export function route(method: string, target: string): Route {
  // The absolute form is for proxies, and every server has to take it (RFC 9112 §3.2.2).
  const path = target.replace(/^http:\/\/[^/?#]*/i, "");
  const [name = "", digest, ...more] = path.startsWith(PREFIX) ? path.slice(PREFIX.length).split("/") : [];
  const key = `${PREFIX}${name}${digest === undefined ? "" : "/{digest}"}`;
  if (!Object.hasOwn(PATHS, key) || more.length > 0) {
    throw new AttestError("unknown_path", "there is nothing at this path", { want: Object.keys(PATHS).join(", ") });
  }
  const found = PATHS[key as Path];
  const allow = found.method === "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
  if (method === "OPTIONS") return { asked: { operation: "options" }, allow };
  if (method !== found.method && !(method === "HEAD" && found.method === "GET")) return { asked: undefined, allow };
  if (!isDocument(found.operation)) return { asked: { operation: found.operation }, allow };
  if (digest === undefined || !DIGEST.test(digest)) throw unknownDigest();
  return { asked: { operation: found.operation, digest }, allow };
}

/** The same for what was never there, and for what is in the store and not in the history in force. */
export function unknownDigest(): AttestError {
  return new AttestError("unknown_digest", "the history in force names no such document", {
    want: "a digest of `GET /v1/history` or of an answer to `POST /v1/attest`, in lower-case hexadecimal",
  });
}

function isDocument(operation: Operation): operation is DocumentKind {
  return operation === "manifests" || operation === "policies" || operation === "annexes";
}
