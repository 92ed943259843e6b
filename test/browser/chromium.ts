import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

/** Debian's Chromium, without a window, and without anything that it would ask of others by itself. */

export const CHROMIUM = "/usr/bin/chromium";

/** Why there are no tests in a browser; undefined: there are. */
export const NO_BROWSER = [CHROMIUM, "/usr/bin/certutil"].every((path) => existsSync(path))
  ? undefined
  : "there is no chromium, or no certutil";

/** @param home where its trust store is, for pages of a server; undefined: that of whoever runs the tests */
export function startChromium(home?: string): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    ...(home === undefined ? {} : { env: { ...process.env, HOME: home } }),
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
