import type { Problem } from "../../api/http/answers.ts";

/** An answer of HTTP, before it is known how its connection goes on. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** In pieces, which many answers share. None: there is no body, nor may there be. */
  readonly body: readonly Uint8Array[] | undefined;
}

/**
 * With every answer: any page of any origin may read it, for it says what everybody may know, and needs no cookies. What
 * owners have put into a manifest is never taken for a page.
 */
export const ALWAYS = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "Retry-After",
  "x-content-type-options": "nosniff",
} as const;

export const NO_STORE = "no-store";

/** What has its digest for a name never changes. */
const FOREVER = "public, max-age=31536000, immutable";

const TYPES = { manifests: "application/json", policies: "application/toml", annexes: "application/json" } as const;

export function jsonAnswer(body: readonly Uint8Array[]): Answer {
  return { status: 200, headers: { "content-type": "application/json", "cache-control": NO_STORE }, body };
}

/** @param ifNoneMatch as the client sent it */
export function documentAnswer(
  kind: keyof typeof TYPES,
  digest: string,
  bytes: Uint8Array,
  ifNoneMatch: string | undefined,
): Answer {
  const headers = { etag: `"${digest}"`, "cache-control": FOREVER };
  if (ifNoneMatch !== undefined && matches(ifNoneMatch, digest)) return { status: 304, headers, body: undefined };
  return { status: 200, headers: { ...headers, "content-type": TYPES[kind] }, body: [bytes] };
}

/** To a browser that asks before it asks. @param allow methods of the path */
export function preflightAnswer(allow: string): Answer {
  return {
    status: 204,
    headers: {
      allow,
      "access-control-allow-methods": allow,
      "access-control-allow-headers": "Content-Type",
      "access-control-max-age": "7200",
      "cache-control": NO_STORE,
    },
    body: undefined,
  };
}

/** @param allow methods of the path, where it is known */
export function problemAnswer(problem: Problem, allow?: string): Answer {
  const { status, retryAfterMs } = problem;
  return {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": NO_STORE,
      ...(status === 405 && allow !== undefined ? { allow } : {}),
      ...(retryAfterMs === undefined ? {} : { "retry-after": String(Math.ceil(retryAfterMs / 1000)) }),
    },
    body: [Buffer.from(`${JSON.stringify(problem)}\n`)],
  };
}

/** RFC 9110 §13.1.2. Weak and strong are the same here: one digest, one sequence of bytes. */
function matches(ifNoneMatch: string, digest: string): boolean {
  return ifNoneMatch.split(",").some((one) => {
    const tag = one.trim();
    return tag === "*" || tag === `"${digest}"` || tag === `W/"${digest}"`;
  });
}
