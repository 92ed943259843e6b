import { expect, test } from "vitest";
import { readEnvironment } from "../../runtime/environment.ts";
import { endorsementVariables, throughProxy } from "./proxy.ts";

function parse(text: string): URL | undefined {
  return readEnvironment(endorsementVariables, { CONTRAST_COLLATERAL_PROXY: text }).CONTRAST_COLLATERAL_PROXY;
}

const VENDOR = new URL("https://kdsintf.amd.com/vcek/v1/Milan/00?blSPL=1&teeSPL=2");

test.each([
  ["http://proxy:8080", "http://proxy:8080/kdsintf.amd.com/vcek/v1/Milan/00?blSPL=1&teeSPL=2"],
  ["https://proxy.example/", "https://proxy.example/kdsintf.amd.com/vcek/v1/Milan/00?blSPL=1&teeSPL=2"],
  ["https://proxy.example/a/b", "https://proxy.example/a/b/kdsintf.amd.com/vcek/v1/Milan/00?blSPL=1&teeSPL=2"],
  ["http://[::1]:80/a/b/", "http://[::1]/a/b/kdsintf.amd.com/vcek/v1/Milan/00?blSPL=1&teeSPL=2"],
])("through %s the vendor's host becomes part of the path", (base, url) => {
  expect(throughProxy(VENDOR, parse(base)).href).toBe(url);
});

test("without a proxy the vendor is asked itself", () => {
  const { CONTRAST_COLLATERAL_PROXY: proxy } = readEnvironment(endorsementVariables, {});
  expect(throughProxy(VENDOR, proxy)).toBe(VENDOR);
});

test.each([
  "",
  "proxy",
  "proxy:8080",
  "ftp://proxy",
  "file:///etc",
  "http://",
  "http:proxy",
  "http://proxy:99999",
  " http://proxy",
  "http://proxy/a b",
  "http://proxy?a=b",
  "http://proxy/#a",
])("%j is no base URL", (text) => {
  expect(() => parse(text)).toThrow(`CONTRAST_COLLATERAL_PROXY: got ${JSON.stringify(text)}, want http://HOST`);
});

test("a password is refused, and not repeated", () => {
  const refusal = expect.objectContaining({
    message: expect.stringMatching(/^(?!.*hunter2)[^]*got a URL with a user name or password/) as unknown,
  });
  for (const text of ["http://user:hunter2@proxy", "nonsense://hunter2@"]) expect(() => parse(text)).toThrow(refusal);
});
