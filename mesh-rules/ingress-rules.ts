import { parseEntries } from "./entries.ts";

/** What the ingress does with one port, other than to ask for a client certificate of the mesh (docs/design.md §3). */
export interface IngressRule {
  readonly name: string;
  readonly port: number;
  /** The port is passed through untouched; otherwise TLS is terminated, and no client certificate is asked for. */
  readonly disableTls: boolean;
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["1", true],
  ["false", false],
  ["0", false],
]);

/**
 * `<name>#<port>#<disableTLS>`, entries joined by `##`.
 *
 * @throws Malformed
 */
export function parseIngressRules(text: string): IngressRule[] {
  return parseEntries(text, {
    form: "<name>#<port>#<disableTLS>",
    fields: { min: 3, max: 3 },
    read(entry) {
      const name = entry.name(0);
      const port = entry.port(1);
      const disableTls = entry.field(2, (text) => BOOLEANS.get(text), "true, false, 1 or 0");
      if (port !== undefined) entry.claim(`port ${port}`);
      return name === undefined || port === undefined || disableTls === undefined
        ? undefined
        : { name, port, disableTls };
    },
  });
}

/** The text that `parseIngressRules` reads as these rules. */
export function printIngressRules(rules: readonly IngressRule[]): string {
  return rules.map(({ name, port, disableTls }) => `${name}#${port}#${disableTls}`).join("##");
}
