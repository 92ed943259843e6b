import { CliError } from "./context.ts";

/**
 * How a Coordinator is named: `host:port`, for the attested channel, or the URL of its HTTP API, which may be behind any proxy.
 * Over HTTP nothing is secret and nobody is authenticated, so most commands need the channel.
 */
export function isUrl(address: string): boolean {
  return /^https?:\/\//i.test(address);
}

/** @returns the URL as commands take it; undefined: it is none of an HTTP API */
export function parseApiUrl(text: string): string | undefined {
  const url = isUrl(text) && URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) return undefined;
  // What is behind the path is the API's own.
  if (url.username + url.password + url.search + url.hash !== "" || /[?#]/.test(text)) return undefined;
  return url.href.replace(/\/+$/, "");
}

/** @param what needs it, as the start of a sentence @throws CliError channel_required */
export function requireChannel(address: string, what: string): void {
  if (isUrl(address)) throw channelRequired(address, what);
}

export function channelRequired(address: string, what: string): CliError {
  return new CliError("channel_required", `${what} needs the attested channel, which no proxy of HTTP carries`, {
    where: `--coordinator ${address}`,
    want: "host:port of the Coordinator's user API, like coordinator.example.com:1313",
    hint: "over https there are `verify`, `status`, and `set` with --signature",
  });
}
