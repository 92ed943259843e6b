import { quote } from "../runtime/fault.ts";
import { parsePort } from "../runtime/variables.ts";
import { parseEntries, PORT } from "./entries.ts";
import { parseSan } from "./san.ts";

/** Which workloads of the mesh may connect to one port; a port without an entry is open to all of them. */
export interface IngressAllow {
  readonly port: number;
  /** Names of which the client's certificate must carry one. */
  readonly sans: readonly string[];
}

const FORM = "<port>=<san>, with further names after commas";
const NAME = "a DNS name, an IP address or a URI without a comma";

/**
 * `<port>=<san>,<san>`, entries joined by `##` as everywhere in mesh rules.
 *
 * @throws Malformed
 */
export function parseIngressAllow(text: string): IngressAllow[] {
  return parseEntries(text, {
    form: FORM,
    fields: { min: 1, max: 1 },
    read(entry) {
      const parts = entry.field(0, (field) => /^([^=]*)=(.*)$/.exec(field)?.slice(1), FORM);
      if (parts === undefined) return undefined;
      const [before = "", after = ""] = parts;
      const port = parsePort(before);
      if (port === undefined) entry.fault(quote(before), PORT);
      else entry.claim(`port ${port}`);
      const sans = after.split(",").flatMap((name, index, names) => {
        if (name === "*") {
          // Most workloads carry `*`; as a name of one it would let in nearly everybody, unlike what it looks like.
          entry.fault('"*"', "names; a port that every workload may connect to has no entry");
        } else if (parseSan(name) === undefined) {
          entry.fault(quote(name), NAME);
        } else if (names.indexOf(name) < index) {
          entry.fault(`${quote(name)} again`, "each name once");
        } else {
          return [name];
        }
        return [];
      });
      return port === undefined ? undefined : { port, sans };
    },
  });
}

/** The text that `parseIngressAllow` reads as these entries. */
export function printIngressAllow(entries: readonly IngressAllow[]): string {
  return entries.map(({ port, sans }) => `${port}=${sans.join(",")}`).join("##");
}
