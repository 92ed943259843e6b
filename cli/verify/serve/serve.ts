import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type Context, printResult } from "../../context.ts";
import { readBuiltPage } from "./page-file.ts";
import { pageServer } from "./server.ts";

/** Where the option says nothing: the system chooses a port that nobody has. */
const ANYWHERE = { host: "127.0.0.1", port: 0 };

/**
 * `contrast verify --serve`: the page in which a browser verifies, from this installation. Serves until the process is told
 * to stop.
 *
 * @param listen address and port, or true for any port of loopback
 * @throws CliError where the page is not there, the system's error where it can't listen
 */
export async function serve(context: Context, listen: string | true): Promise<void> {
  const server = pageServer(await readBuiltPage());
  const { host, port } = listen === true ? ANYWHERE : addressOf(listen);
  server.listen(port, host);
  await once(server, "listening");
  const { port: bound } = server.address() as AddressInfo;
  if (!/^(?:127\.|::1$)/.test(host)) {
    context.warn(
      "warning: browsers verify only on a page of their own machine, or over https: terminate TLS before it",
    );
  }
  printResult(context, false, { page: `http://${host.includes(":") ? `[${host}]` : host}:${bound}/` });
  await once(server, "close");
}

function addressOf(listen: string): { readonly host: string; readonly port: number } {
  const { hostname, port } = new URL(`http://${listen}`);
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port || "80") };
}
