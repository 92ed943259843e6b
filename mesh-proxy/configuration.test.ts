import { expect, test } from "vitest";
import { ConfigurationError, type Environment, readEnvironment } from "../runtime/environment.ts";
import { constraints, type MeshProxyConfiguration, variables } from "./configuration.ts";

const read = (environment: Environment): MeshProxyConfiguration => readEnvironment(variables, environment, constraints);

function faultsOf(environment: Environment): string[] {
  try {
    read(environment);
  } catch (error) {
    if (error instanceof ConfigurationError) {
      return error.faults.map(({ where, got, want }) => `${where}: got ${got}, want ${want}`);
    }
    throw error;
  }
  return [];
}

const BOUND = {
  CONTRAST_INGRESS_PROXY_CONFIG: "web#8080#false",
  CONTRAST_INGRESS_MODE: "bind",
  CONTRAST_INGRESS_BIND: "10.0.0.1",
  CONTRAST_INGRESS_TARGET: "127.0.0.1",
};

test("without variables nothing is touched", () => {
  expect(read({})).toEqual({
    CONTRAST_TLS_CONFIG_DIR: "/tls-config",
    CONTRAST_INGRESS_PROXY_CONFIG: undefined,
    CONTRAST_EGRESS_PROXY_CONFIG: [],
    CONTRAST_INGRESS_MODE: "transparent",
    CONTRAST_INGRESS_BIND: undefined,
    CONTRAST_INGRESS_TARGET: undefined,
    CONTRAST_INGRESS_PORTS: [],
    CONTRAST_ADMIN_PORT: undefined,
  });
});

test("an ingress configuration that is set but empty is not the same as none", () => {
  const environment = { ...BOUND, CONTRAST_INGRESS_PROXY_CONFIG: "", CONTRAST_INGRESS_PORTS: "80,443" };
  expect(read(environment).CONTRAST_INGRESS_PROXY_CONFIG).toEqual([]);
  expect(read(environment).CONTRAST_INGRESS_PORTS).toEqual([80, 443]);
});

test("the mode does not matter where ingress is not touched", () => {
  expect(faultsOf({ CONTRAST_INGRESS_MODE: "bind" })).toEqual([]);
  expect(faultsOf({ CONTRAST_INGRESS_MODE: "transparent", CONTRAST_INGRESS_BIND: "10.0.0.1" })).toEqual([]);
});

const TRANSPARENT = [
  "CONTRAST_INGRESS_MODE: got transparent, but transparent ingress is not part of this version, want CONTRAST_INGRESS_MODE=bind",
];
const LOOP = (target: string, bind: string): string[] => [
  `CONTRAST_INGRESS_TARGET: got ${target}, which leads back to CONTRAST_INGRESS_BIND=${bind}, want an address that only the application listens on`,
];

test.each<[string, Environment, string[]]>([
  ["transparent ingress", { CONTRAST_INGRESS_PROXY_CONFIG: "" }, TRANSPARENT],
  [
    "transparent ingress, asked for",
    { CONTRAST_INGRESS_PROXY_CONFIG: "", CONTRAST_INGRESS_MODE: "transparent" },
    TRANSPARENT,
  ],
  [
    "mode bind without addresses",
    { CONTRAST_INGRESS_PROXY_CONFIG: "web#8080#false", CONTRAST_INGRESS_MODE: "bind" },
    [
      "CONTRAST_INGRESS_BIND: got nothing, want the address to listen on, in mode bind",
      "CONTRAST_INGRESS_TARGET: got nothing, want the application's address, in mode bind",
    ],
  ],
  [
    "mode bind without a port",
    { ...BOUND, CONTRAST_INGRESS_PROXY_CONFIG: "" },
    ["CONTRAST_INGRESS_PORTS: got no port, nor a rule with one, want the ports to listen on, separated by commas"],
  ],
  [
    "a port in two places",
    { ...BOUND, CONTRAST_INGRESS_PORTS: "80,8080" },
    ['CONTRAST_INGRESS_PORTS: got 8080, which rule "web" is about, want it in one place'],
  ],
  [
    "ports that are none",
    { ...BOUND, CONTRAST_INGRESS_PORTS: "80,,080,80" },
    [
      'CONTRAST_INGRESS_PORTS, port 2: got "", want a port: 1 to 65535, without sign, space or leading zero',
      'CONTRAST_INGRESS_PORTS, port 3: got "080", want a port: 1 to 65535, without sign, space or leading zero',
      "CONTRAST_INGRESS_PORTS, port 4: got 80 again, want each port once",
    ],
  ],
  ["a target that is the listener", { ...BOUND, CONTRAST_INGRESS_TARGET: "10.0.0.1" }, LOOP("10.0.0.1", "10.0.0.1")],
  [
    "a target that is the listener in other words",
    { ...BOUND, CONTRAST_INGRESS_BIND: "0:0:0:0:0:0:0:1", CONTRAST_INGRESS_TARGET: "::1" },
    LOOP("::1", "0:0:0:0:0:0:0:1"),
  ],
  [
    "a target that is the listener in IPv6",
    { ...BOUND, CONTRAST_INGRESS_TARGET: "::ffff:10.0.0.1" },
    LOOP("::ffff:10.0.0.1", "10.0.0.1"),
  ],
  ["a listener on all addresses", { ...BOUND, CONTRAST_INGRESS_BIND: "0.0.0.0" }, LOOP("127.0.0.1", "0.0.0.0")],
  ["a target of all addresses", { ...BOUND, CONTRAST_INGRESS_TARGET: "::" }, LOOP("::", "10.0.0.1")],
  [
    "a name for an address",
    { ...BOUND, CONTRAST_INGRESS_TARGET: "localhost" },
    ['CONTRAST_INGRESS_TARGET: got "localhost", want an IP address'],
  ],
  [
    "an admin port that is none",
    { CONTRAST_ADMIN_PORT: "+9" },
    ['CONTRAST_ADMIN_PORT: got "+9", want a port: 1 to 65535, without sign, space or leading zero'],
  ],
])("%s is refused", (_, environment, faults) => {
  expect(faultsOf(environment)).toEqual(faults);
});

test("malformed values and values that don't go together are reported together", () => {
  const faults = faultsOf({
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: "nowhere",
    CONTRAST_EGRESS_PROXY_CONFIG: "a#10.0.0.1:0#b:1",
    CONTRAST_INGRES_TARGET: "127.0.0.1",
  });
  expect(faults.map((fault) => fault.slice(0, fault.indexOf(":")))).toEqual([
    'CONTRAST_EGRESS_PROXY_CONFIG, entry 1 "a#10.0.0.1',
    'CONTRAST_EGRESS_PROXY_CONFIG, entry 1 "a#10.0.0.1',
    "CONTRAST_INGRESS_BIND",
    "CONTRAST_INGRESS_PORTS",
    "CONTRAST_INGRES_TARGET",
  ]);
});
