import { type Command, InvalidArgumentError } from "commander";
import type { Context } from "../context.ts";
import { collect, examples, parseBaseUrl, parseListen } from "../options.ts";
import type { CollateralProxyFlags } from "./run.ts";
import { VENDOR_HOSTS } from "./upstreams.ts";

export function addCollateralProxyCommand(program: Command, context: () => Context): void {
  program
    .command("collateral-proxy")
    .description("serve the vendors' certificates and revocation lists from a cache, for networks without the internet")
    .option("--listen <host:port>", "address to listen on", parseListen, "127.0.0.1:8080")
    .option("--cache-dir <dir>", "folder that keeps the answers (default: in memory only)")
    .option("--upstream <host=url>", "base URL to ask in place of a vendor's host (repeatable)", collectUpstream)
    .option(
      "--requests-per-minute <number>",
      "requests about single chips and platforms that one address may send; four times as many go to the vendors",
      parseRate,
      "60",
    )
    .addHelpText(
      "after",
      examples(
        "contrast collateral-proxy --listen 0.0.0.0:8080 --cache-dir cache",
        "contrast collateral-proxy \\",
        "    --upstream api.trustedservices.intel.com=https://pccs.example.com",
      ),
    )
    .action(async (flags: CollateralProxyFlags) => {
      const { runCollateralProxy } = await import("./run.ts");
      await runCollateralProxy(context(), flags);
    });
}

function parseRate(text: string): string {
  if (/^[1-9]\d{0,5}$/.test(text)) return text;
  throw new InvalidArgumentError("Want a whole number from 1 to 999999.");
}

function collectUpstream(text: string, before?: readonly string[]): readonly string[] {
  const [host = "", ...rest] = text.split("=");
  if (!VENDOR_HOSTS.some((known) => known === host)) {
    throw new InvalidArgumentError(`Want one of ${VENDOR_HOSTS.join(", ")}, then = and a URL.`);
  }
  parseBaseUrl(rest.join("="));
  return collect(text, before);
}
