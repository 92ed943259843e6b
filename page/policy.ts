/**
 * The Content-Security-Policy (CSP Level 3) of the page: nothing but its own script and style, by their digests, and requests
 * to the Coordinator that the user names. That may stand anywhere, so any address over TLS will do; in plain text only this
 * machine. No address of Coordinators is known when the page is built.
 *
 * Trusted Types (https://www.w3.org/TR/trusted-types/): no text becomes markup but through the one policy of insert.ts.
 */
export function contentSecurityPolicy(digests: { readonly script: string; readonly style: string }): string {
  return [
    "default-src 'none'",
    `script-src '${digests.script}'`,
    `style-src '${digests.style}'`,
    "connect-src https: http://localhost:* http://127.0.0.1:*",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    `trusted-types ${MARKUP_POLICY}`,
  ].join("; ");
}

/** The name of the only policy that may turn text into markup. */
export const MARKUP_POLICY = "contrast-report";
