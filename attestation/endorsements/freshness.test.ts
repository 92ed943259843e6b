import { expect, test } from "vitest";
import { freshness } from "./freshness.ts";

const NOW = new Date("2026-06-01T00:00:00Z");
const HOUR = 60 * 60 * 1000;

test.each<[Readonly<Record<string, string>>, number]>([
  [{}, 1],
  [{ "cache-control": "max-age=7200" }, 2],
  [{ "cache-control": "public, MAX-AGE=7200 , must-revalidate" }, 2],
  [{ "cache-control": "max-age=10800", age: "3600" }, 2],
  [{ expires: "Mon, 01 Jun 2026 03:00:00 GMT" }, 3],
  [{ "cache-control": "max-age=7200", expires: "Mon, 01 Jun 2026 03:00:00 GMT" }, 2],
  // At least an hour, at most a day.
  [{ "cache-control": "max-age=1" }, 1],
  [{ "cache-control": "no-cache, no-store, max-age=0, must-revalidate", expires: "0" }, 1],
  [{ "cache-control": "no-store, max-age=7200" }, 1],
  [{ expires: "Sun, 31 May 2026 00:00:00 GMT" }, 1],
  [{ "cache-control": "max-age=31536000" }, 24],
  [{ "cache-control": `max-age=${"9".repeat(400)}` }, 24],
  [{ "cache-control": "max-age=7200", age: "soon" }, 1],
  [{ "cache-control": "max-age=-7200" }, 1],
  [{ expires: "Wed, 01 Jun 2033 00:00:00 GMT" }, 24],
])("%j is fresh for %d h", (headers, hours) => {
  expect(freshness(new Headers(headers), NOW)).toBe(hours * HOUR);
});
