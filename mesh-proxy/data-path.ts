import dns from "node:dns";
import type { Logger } from "../runtime/log.ts";
import type { MeshProxyConfiguration } from "./configuration.ts";
import type { CurrentCredentials } from "./current-credentials.ts";
import { descriptorLimit, Descriptors } from "./descriptors.ts";
import { findFastPath } from "./fast-path.ts";
import type { Lookup } from "./names.ts";
import { Proxy, type Route, routes } from "./proxy.ts";
import { carryBy } from "./splice.ts";
import type { ThreadShare } from "./threads/share.ts";
import { createWatch, type Watch } from "./watch.ts";

/** What connections go through, on the event loop of one thread: the only one, or one of several that are alike. */
export interface DataPath {
  readonly routes: readonly Route[];
  readonly watch: Watch;
  readonly proxy: Proxy;
}

export interface DataPathOptions {
  readonly credentials: CurrentCredentials;
  /** Undefined: there is no other thread. */
  readonly share: ThreadShare | undefined;
  readonly log: Logger;
  readonly now: () => Date;
  readonly clock: () => number;
}

export function createDataPath(
  configuration: MeshProxyConfiguration,
  { credentials, share, log, now, clock }: DataPathOptions,
): DataPath {
  const descriptors = descriptorLimit();
  const watch = createWatch(configuration, { credentials, descriptors, stdout: process.stdout, now, clock, share });
  const proxy = new Proxy(log, new Descriptors(descriptors), watch);
  return { routes: routes(configuration, { credentials, lookup, now }), watch, proxy };
}

/** How the connections of this thread are read and written. @returns whether it is the fast way */
export async function carryFast(): Promise<boolean> {
  const fastPath = await findFastPath();
  if (fastPath !== undefined) carryBy(fastPath);
  return fastPath !== undefined;
}

/** What the system is set up to ask: /etc/hosts, then DNS. */
const lookup: Lookup = async (host) => {
  const { promise, resolve, reject } = Promise.withResolvers<readonly dns.LookupAddress[]>();
  dns.lookup(host, { all: true, order: "verbatim" }, (error, addresses) => {
    if (error === null) resolve(addresses);
    else reject(error);
  });
  return promise;
};
