import { Malformed, type Variable } from "../../runtime/environment.ts";
import { quote } from "../../runtime/fault.ts";

/**
 * A service that stands in for the vendors', for networks without a way to them. The vendor's host becomes the first
 * segment of the path below the base URL:
 *
 *     https://kdsintf.amd.com/vcek/v1/Milan/crl  →  <base>/kdsintf.amd.com/vcek/v1/Milan/crl
 *
 * Any caching reverse proxy can serve that with one rule for each host: kdsintf.amd.com,
 * api.trustedservices.intel.com and certificates.trustedservices.intel.com. Nothing that it serves is trusted.
 */
export const endorsementVariables = {
  CONTRAST_COLLATERAL_PROXY: baseUrl("base URL that replaces AMD KDS and Intel PCS"),
} as const;

export function throughProxy(url: URL, proxy: URL | undefined): URL {
  if (proxy === undefined) return url;
  return new URL(`${proxy.href.replace(/\/+$/, "")}/${url.host}${url.pathname}${url.search}`);
}

/** An http or https URL that a path can be put behind. A password in it would show up in every error. */
function baseUrl(help: string): Variable<URL | undefined> {
  return {
    help,
    unset: undefined,
    parse(text) {
      const url = URL.parse(text);
      const usable =
        url !== null &&
        /^https?:\/\/[^/\s]+(?:\/\S*)?$/.test(text) &&
        !/[@?#]/.test(text) &&
        (url.protocol === "http:" || url.protocol === "https:");
      if (usable) return url;
      throw new Malformed([
        {
          where: "",
          got: text.includes("@") ? "a URL with a user name or password" : quote(text),
          want: "http://HOST[:PORT][/PATH] or https://…, without user name, query or fragment",
        },
      ]);
    },
  };
}
