import type { MessagePort } from "node:worker_threads";
import type { LogOptions } from "../../runtime/log.ts";
import { Secret } from "../../runtime/secret.ts";
import type { MeshProxyConfiguration } from "../configuration.ts";
import type { CredentialsInUse } from "../current-credentials.ts";
import type { ThreadShare } from "./share.ts";

/** What the main thread and the others say to each other, within the memory of the process. */

/** What a thread begins with. It says `ACCEPTING` when it accepts connections. */
export interface Beginning {
  readonly configuration: MeshProxyConfiguration;
  readonly credentials: Clone;
  readonly share: ThreadShare;
  /** Its own descriptors of the listening sockets, in the order of the routes. */
  readonly sockets: readonly number[];
  readonly log: LogOptions;
}

export const ACCEPTING = "accepting";

/** What the main thread asks; the answer comes when it is done. */
export type Request =
  | { readonly do: "use"; readonly credentials: Clone }
  /** The answer: Family[]. */
  | { readonly do: "count" }
  | { readonly do: "stop ingress" }
  /** The answer: whether all connections ended by themselves. */
  | { readonly do: "close"; readonly graceMs: number }
  | { readonly do: "close at once" };

export interface Message {
  readonly request: Request;
  readonly answer: MessagePort;
}

/** A Secret does not go through the structured clone algorithm, which is what keeps it from getting anywhere by accident. */
type Clone = Omit<CredentialsInUse, "key" | "ticketSecret"> & {
  readonly key: Uint8Array;
  readonly ticketSecret: Uint8Array;
};

export function toClone(credentials: CredentialsInUse): Clone {
  return { ...credentials, key: credentials.key.reveal(), ticketSecret: credentials.ticketSecret.reveal() };
}

export function fromClone(clone: Clone): CredentialsInUse {
  return { ...clone, key: new Secret(clone.key), ticketSecret: new Secret(clone.ticketSecret) };
}
