import { createHash, timingSafeEqual } from "node:crypto";
import type { Caller } from "./caller.ts";
import { TransitError } from "./transit-error.ts";

/** What a request asks for, from its first line. */
export interface Operation {
  readonly kind: "encrypt" | "decrypt";
  /** As the client names it. */
  readonly key: string;
}

/**
 * @param target as it stands in the request: nothing of it is normalised, so there is one spelling of each path. What
 *   follows `encrypt/` or `decrypt/` is percent-decoded once, and is the name of the key, slashes and all
 * @throws TransitError `unsupported_path`, `unsupported_operation`, `malformed_request`
 */
export function parseOperation(method: string, target: string): Operation {
  const [path = ""] = target.split("?", 1);
  const [, kind, name] = /^\/v1\/transit\/(encrypt|decrypt)\/(.+)$/s.exec(path) ?? [];
  if (kind === undefined || name === undefined) {
    throw new TransitError("unsupported_path", "unsupported path: this is the part of transit that auto-unseal uses");
  }
  if (method !== "POST" && method !== "PUT") throw new TransitError("unsupported_operation", "unsupported operation");
  try {
    return { kind: kind === "encrypt" ? "encrypt" : "decrypt", key: decodeURIComponent(name) };
  } catch {
    throw new TransitError("malformed_request", "the name of the key is not percent-encoded UTF-8");
  }
}

/**
 * The one answer to whoever names another key than its own, whether there is such a key or not: no list of keys is asked.
 *
 * @returns the caller's id
 * @throws TransitError `permission_denied`
 */
export function requireOwnKey(key: string, { id }: Caller): string {
  // Of digests, so that it takes as long for every name.
  const isOwn = timingSafeEqual(digest(key), digest(id ?? ""));
  if (id !== undefined && isOwn) return id;
  throw new TransitError("permission_denied", "permission denied");
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
