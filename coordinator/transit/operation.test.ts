import { expect, test } from "vitest";
import type { Caller } from "./caller.ts";
import { parseOperation, requireOwnKey } from "./operation.ts";

const codeOf = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return (error as { readonly code?: string }).code;
  }
};

const caller = (id: string | undefined): Caller => ({ policy: "", id, versions: { latest: 1, minimum: 1 } });

test.for([
  ["/v1/transit/encrypt/web", "encrypt", "web"],
  ["/v1/transit/decrypt/web", "decrypt", "web"],
  ["/v1/transit/encrypt/apps/v1/Deployment/shop/web", "encrypt", "apps/v1/Deployment/shop/web"],
  ["/v1/transit/encrypt/apps%2Fv1%2FDeployment%2Fshop%2Fweb", "encrypt", "apps/v1/Deployment/shop/web"],
  ["/v1/transit/encrypt/%77eb", "encrypt", "web"],
  ["/v1/transit/encrypt/gr%C3%B6%C3%9Fe", "encrypt", "größe"],
  ["/v1/transit/encrypt/web?x=1", "encrypt", "web"],
  ["/v1/transit/encrypt/web/", "encrypt", "web/"],
  ["/v1/transit/encrypt//web", "encrypt", "/web"],
  ["/v1/transit/encrypt/../decrypt/web", "encrypt", "../decrypt/web"],
  ["/v1/transit/encrypt/%2e%2e/web", "encrypt", "../web"],
  ["/v1/transit/encrypt/web%00", "encrypt", "web\0"],
  ["/v1/transit/encrypt/%2577eb", "encrypt", "%77eb"],
  ["/v1/transit/encrypt/we+b", "encrypt", "we+b"],
])("%s names one key, and nothing of it is normalised", ([target = "", kind, key]) => {
  for (const method of ["POST", "PUT"]) expect(parseOperation(method, target)).toEqual({ kind, key });
});

test.for([
  "",
  "/",
  "*",
  "/v1/transit/encrypt",
  "/v1/transit/encrypt/",
  "/v1/transit/encrypt/?x",
  "//v1/transit/encrypt/web",
  "/v1//transit/encrypt/web",
  "/v1/transit//encrypt/web",
  "/V1/transit/encrypt/web",
  "/v1/Transit/encrypt/web",
  "/v1/transit/ENCRYPT/web",
  "/v1/transit/%65ncrypt/web",
  "/v1/transit/../transit/encrypt/web",
  "/v1/transit/keys/web",
  "/v1/transit/rewrap/web",
  "/v1/transit/datakey/plaintext/web",
  "/v1/transit/hmac/web",
  "/v1/sys/health",
  "/v1/auth/token/renew-self",
  "http://coordinator/v1/transit/encrypt/web",
])("%j is no path", (target) => {
  expect(codeOf(() => parseOperation("POST", target))).toBe("unsupported_path");
});

test.for(["GET", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE", "LIST", "post", ""])("%s does nothing", (method) => {
  expect(codeOf(() => parseOperation(method, "/v1/transit/encrypt/web"))).toBe("unsupported_operation");
});

test.for(["%", "%zz", "%ff", "web%", "%c3", "%ed%a0%80"])("a key %s is no UTF-8", (name) => {
  expect(codeOf(() => parseOperation("POST", `/v1/transit/encrypt/${name}`))).toBe("malformed_request");
});

test("its own key is the caller's, and no other name is", () => {
  for (const id of ["web", "apps/v1/Deployment/shop/web", "größe", "..", "a\0b"])
    expect(requireOwnKey(id, caller(id))).toBe(id);
  for (const name of ["web", "WEB", "Web", " web", "web ", "web/", "web\0", "../web", "", "wéb", "wéb", "undefined"]) {
    const own = name === "web" ? "other" : "web";
    expect(
      codeOf(() => requireOwnKey(name, caller(own))),
      JSON.stringify(name),
    ).toBe("permission_denied");
    expect(
      codeOf(() => requireOwnKey(name, caller(undefined))),
      JSON.stringify(name),
    ).toBe("permission_denied");
  }
});
