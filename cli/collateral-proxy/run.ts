import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Context } from "../context.ts";
import { collateralProxy } from "./server.ts";

/** The options of `contrast collateral-proxy` as commander gives them. */
export interface CollateralProxyFlags {
  readonly listen: string;
  readonly cacheDir?: string;
  readonly upstream?: readonly string[];
  readonly requestsPerMinute: string;
}

/** Listens until the process is told to stop. @throws the system's error where it can't listen */
export async function runCollateralProxy(context: Context, flags: CollateralProxyFlags): Promise<void> {
  const upstreams = (flags.upstream ?? []).map((text): [string, URL] => {
    const at = text.indexOf("=");
    return [text.slice(0, at), new URL(text.slice(at + 1))];
  });
  const server = collateralProxy({
    network: context.network,
    directory: flags.cacheDir,
    upstreams: new Map(upstreams),
    perMinute: Number(flags.requestsPerMinute),
    warn: (line) => context.warn(`warning: ${line}`),
  });
  const { hostname, port } = new URL(`http://${flags.listen}`);
  server.listen(Number(port || "80"), hostname.replace(/^\[|\]$/g, ""));
  await once(server, "listening");
  const { address, port: bound } = server.address() as AddressInfo;
  context.talk(`listening on ${address}:${bound}`);
  await once(server, "close");
}
