/**
 * For how long an answer is used without asking again (RFC 9111 §4.2, for a private cache).
 *
 * The answers are signed and say themselves until when they are valid. What HTTP says is held between two bounds. AMD's
 * service answers a client only every few seconds, so a vendor that forbids caching would be asked in vain at every
 * handshake. And no revocation list is used for longer than a day while there may be a newer one, nor is an answer that
 * turns out to be useless.
 */
const LEAST_MS = 60 * 60 * 1000;
export const MOST_MS = 24 * 60 * 60 * 1000;

/** @returns milliseconds from `now` */
export function freshness(headers: Headers, now: Date): number {
  const lifetime = lifetimeOf(headers, now);
  // Written so that what is no number counts as the least.
  return lifetime > LEAST_MS ? Math.min(lifetime, MOST_MS) : LEAST_MS;
}

function lifetimeOf(headers: Headers, now: Date): number {
  const directives = (headers.get("cache-control") ?? "").toLowerCase().split(/\s*,\s*/);
  if (directives.includes("no-store") || directives.includes("no-cache")) return 0;
  const maxAge = directives.find((directive) => /^max-age=\d+$/.test(directive));
  const age = Number(headers.get("age") ?? 0) * 1000;
  if (maxAge !== undefined) return Number(maxAge.slice("max-age=".length)) * 1000 - age;
  return Date.parse(headers.get("expires") ?? "") - now.getTime();
}
