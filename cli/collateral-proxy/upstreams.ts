import type { Network } from "../../attestation/endorsements/fetch.ts";

/** The vendors' hosts that are asked, by the requests of `requests.ts`. */
export const VENDOR_HOSTS = [
  "kdsintf.amd.com",
  "api.trustedservices.intel.com",
  "certificates.trustedservices.intel.com",
] as const;

/** Whom to ask in place of a vendor's host: by its name, a base URL. */
export type Upstreams = ReadonlyMap<string, URL>;

/**
 * Asks upstreams in place of vendors, and no more often than is allowed.
 *
 * @param allowed whether this URL may be asked now
 * @param asked is told of each request that was made: the status, or 0 where there was no answer
 */
export function fetchUpstream(
  fetch: Network["fetch"],
  upstreams: Upstreams,
  allowed: (url: URL) => boolean,
  asked: (host: string, status: number) => void,
): Network["fetch"] {
  return async (url, init) => {
    if (!allowed(url)) throw new Error("the limit of requests to vendors is reached");
    const base = upstreams.get(url.host);
    const from = base === undefined ? url : new URL(`${base.href.replace(/\/+$/, "")}${url.pathname}${url.search}`);
    try {
      const response = await fetch(from, init);
      asked(url.host, response.status);
      return response;
    } catch (error) {
      asked(url.host, 0);
      throw error;
    }
  };
}
