import { type Endpoint, formatEndpoint, parseHost, parseLoopback } from "./endpoint.ts";
import { parseEntries } from "./entries.ts";
import { parseSan } from "./san.ts";

/** Where the application connects in plain text, and where that leads to over mutual TLS (docs/design.md §3). */
export interface EgressRule {
  readonly name: string;
  readonly listen: Endpoint;
  readonly upstream: Endpoint;
  /** The name that the upstream's certificate must carry; undefined: any certificate of the mesh will do. */
  readonly san: string | undefined;
}

/**
 * `<name>#<ip>:<port>#<host>:<port>` with `#<san>` after it or not, entries joined by `##`.
 *
 * @throws Malformed
 */
export function parseEgressRules(text: string): EgressRule[] {
  return parseEntries(text, {
    form: "<name>#<ip>:<port>#<host>:<port>, or the same with #<san>",
    fields: { min: 3, max: 4 },
    read(entry) {
      const name = entry.name(0);
      const listen = entry.endpoint(1, parseLoopback, "an address of 127.0.0.0/8 or [::1]");
      const upstream = entry.endpoint(2, parseHost, "a DNS name, an IPv4 address or an IPv6 address in brackets");
      const isPinned = entry.length === 4;
      const san = isPinned ? entry.field(3, parseSan, "a DNS name, an IP address or a URI") : undefined;
      if (listen !== undefined) entry.claim(`listener ${formatEndpoint(listen)}`);
      return name === undefined || listen === undefined || upstream === undefined || (isPinned && san === undefined)
        ? undefined
        : { name, listen, upstream, san };
    },
  });
}

/** The text that `parseEgressRules` reads as these rules. */
export function printEgressRules(rules: readonly EgressRule[]): string {
  return rules
    .map(({ name, listen, upstream, san }) => [name, formatEndpoint(listen), formatEndpoint(upstream), san])
    .map((fields) => fields.filter((field) => field !== undefined).join("#"))
    .join("##");
}
