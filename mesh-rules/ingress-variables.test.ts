import { expect, test } from "vitest";
import { parseIngressRules } from "./ingress-rules.ts";
import { ingressVariables, openPorts } from "./ingress-variables.ts";

test.each([
  ["web#8080#false##metrics#9090#true", undefined, [9090]],
  ["", undefined, []],
  ["", 9102, [9102]],
  ["metrics#9090#true", 9102, [9090, 9102]],
  // A rule for the admin port goes before, whatever it says.
  ["admin#9102#false", 9102, []],
  ["admin#9102#true", 9102, [9102]],
])("with the rules %j and the admin port %s the ports %j are open", (text, adminPort, ports) => {
  const ingress = {
    CONTRAST_INGRESS_PROXY_CONFIG: parseIngressRules(text),
    CONTRAST_INGRESS_MODE: "transparent",
    CONTRAST_ADMIN_PORT: adminPort,
  } as const;
  expect(openPorts(ingress)).toEqual(ports);
  expect(openPorts({ ...ingress, CONTRAST_INGRESS_MODE: "bind" })).toBeUndefined();
  expect(openPorts({ ...ingress, CONTRAST_INGRESS_PROXY_CONFIG: undefined })).toBeUndefined();
});

test("an empty admin port is none: a pod states it so that no Service can set it", () => {
  expect(ingressVariables.CONTRAST_ADMIN_PORT.parse("")).toBeUndefined();
  expect(ingressVariables.CONTRAST_ADMIN_PORT.parse("9102")).toBe(9102);
  expect(() => ingressVariables.CONTRAST_ADMIN_PORT.parse(" ")).toThrow("want a port");
});
