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
    CONTRAST_INGRESS_SOCKETS: undefined,
    CONTRAST_INGRESS_ALLOW: [],
    CONTRAST_INGRESS_PROXY_PROTOCOL: [],
    CONTRAST_TLS_MIN: "1.3",
    CONTRAST_DRAIN_TIMEOUT: 25_000,
    CONTRAST_ADMIN_PORT: undefined,
    CONTRAST_ACCESS_LOG: "0",
    CONTRAST_MAX_INGRESS_CONNECTIONS: undefined,
    CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: undefined,
    CONTRAST_MAX_EGRESS_CONNECTIONS: undefined,
    CONTRAST_MAX_HANDSHAKES: undefined,
    CONTRAST_MAX_HANDSHAKES_PER_SOURCE: undefined,
    CONTRAST_HANDSHAKE_TIMEOUT: 10_000,
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
  expect(faultsOf({ CONTRAST_INGRESS_PROXY_CONFIG: "", CONTRAST_INGRESS_MODE: "transparent" })).toEqual([]);
});

const SERVED =
  "which the proxy does not serve, want a port of the ingress (CONTRAST_INGRESS_PROXY_CONFIG; in mode bind also CONTRAST_INGRESS_PORTS)";

const LOOP = (target: string, bind: string): string[] => [
  `CONTRAST_INGRESS_TARGET: got ${target}, which leads back to CONTRAST_INGRESS_BIND=${bind}, want an address that only the application listens on`,
];

test.each<[string, Environment, string[]]>([
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
    "names for a port that asks for no certificate",
    { CONTRAST_INGRESS_PROXY_CONFIG: "web#8080#false##db#5432#true", CONTRAST_INGRESS_ALLOW: "8080=a##5432=b##80=c" },
    [
      'CONTRAST_INGRESS_ALLOW: got 8080, where rule "web" asks for no client certificate, want a port without a rule, which asks for one',
      'CONTRAST_INGRESS_ALLOW: got 5432, where rule "db" asks for no client certificate, want a port without a rule, which asks for one',
    ],
  ],
  [
    "names for a port that is not served",
    { ...BOUND, CONTRAST_INGRESS_ALLOW: "80=web" },
    [`CONTRAST_INGRESS_ALLOW: got 80, ${SERVED}`],
  ],
  [
    "names where ingress is not touched",
    { CONTRAST_INGRESS_ALLOW: "80=web" },
    [`CONTRAST_INGRESS_ALLOW: got 80, ${SERVED}`],
  ],
  [
    "names that are malformed",
    { CONTRAST_INGRESS_PROXY_CONFIG: "", CONTRAST_INGRESS_ALLOW: "80=*" },
    [
      'CONTRAST_INGRESS_ALLOW, entry 1 "80=*": got "*", want names; a port that every workload may connect to has no entry',
    ],
  ],
  [
    "the PROXY protocol for a port that is not served",
    { ...BOUND, CONTRAST_INGRESS_PROXY_PROTOCOL: "80,8080" },
    [`CONTRAST_INGRESS_PROXY_PROTOCOL: got 80, ${SERVED}`],
  ],
  [
    "the PROXY protocol for a port that the kernel passes through",
    { CONTRAST_INGRESS_PROXY_CONFIG: "db#5432#true", CONTRAST_INGRESS_PROXY_PROTOCOL: "5432,80" },
    [
      'CONTRAST_INGRESS_PROXY_PROTOCOL: got 5432, whose connections the proxy never sees: rule "db", want a port with TLS, or mode bind',
    ],
  ],
  ["an old TLS", { CONTRAST_TLS_MIN: "1.1" }, ['CONTRAST_TLS_MIN: got "1.1", want 1.2 or 1.3']],
  [
    "a time without a unit",
    { CONTRAST_DRAIN_TIMEOUT: "25" },
    ['CONTRAST_DRAIN_TIMEOUT: got "25", want a number with ms, s, m or h, like 30s'],
  ],
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

test("a port that is passed through may have the PROXY protocol in mode bind", () => {
  const environment = {
    ...BOUND,
    CONTRAST_INGRESS_PROXY_CONFIG: "db#5432#true",
    CONTRAST_INGRESS_PROXY_PROTOCOL: "5432",
  };
  expect(read(environment).CONTRAST_INGRESS_PROXY_PROTOCOL).toEqual([5432]);
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
