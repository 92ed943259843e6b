import fc from "fast-check";
import { expect, test } from "vitest";
import {
  ConfigurationError,
  KNOWN,
  Malformed,
  nameableByServices,
  readEnvironment,
  withoutServiceLinks,
} from "./environment.ts";
import { oneEditApart } from "./fault.ts";
import { duration, ipAddress, oneOf, onlyIfOne, parsePort, path } from "./variables.ts";

const variables = {
  CONTRAST_LOG_LEVEL: oneOf(["info", "debug"], "info", "level"),
  CONTRAST_TIMEOUT: duration(undefined, "timeout"),
  CONTRAST_STATE_DIR: path("/state", "directory"),
  CONTRAST_ALLOW_INSECURE: onlyIfOne("insecure"),
  CONTRAST_INGRESS_BIND: ipAddress(undefined, "address"),
};

function faultsOf(environment: Record<string, string>): string[] {
  try {
    readEnvironment(variables, environment);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults.map(({ where, got, want }) => `${where}: ${got}, ${want}`);
  }
}

test("what is not set has its default", () => {
  expect(readEnvironment(variables, { HOME: "/root" })).toEqual({
    CONTRAST_LOG_LEVEL: "info",
    CONTRAST_TIMEOUT: undefined,
    CONTRAST_STATE_DIR: "/state",
    CONTRAST_ALLOW_INSECURE: false,
    CONTRAST_INGRESS_BIND: undefined,
  });
});

test("all faults are reported together, each with its variable, its text and what would be right", () => {
  expect(faultsOf({ CONTRAST_LOG_LEVEL: "loud", CONTRAST_TIMEOUT: "5", CONTRAST_INGRESS_BIND: "localhost" })).toEqual([
    'CONTRAST_LOG_LEVEL: "loud", info or debug',
    'CONTRAST_TIMEOUT: "5", a number with ms, s, m or h, like 30s',
    'CONTRAST_INGRESS_BIND: "localhost", an IP address',
  ]);
});

test.each(["CONTRAST_LOG_LEVL", "CONTRAST_LOG_LEVELL", "CONTRAST_LOG_LEVFL", "CONTRAST_LOG_LEVLE"])(
  "%s is taken for a typing error",
  (name) => {
    expect(faultsOf({ [name]: "info" })).toEqual([`${name}: an unknown variable, CONTRAST_LOG_LEVEL`]);
  },
);

test("strangers are left alone, and so are the variables of other programs", () => {
  expect(faultsOf({ CONTRAST_COORDINATOR_SERVICE_HOST: "10.0.0.1", CONTRAST_EGRESS_PROXY_CONFIG: "x" })).toEqual([]);
});

const ADMIN_PORT = {
  CONTRAST_ADMIN_PORT: {
    help: "port",
    unset: undefined,
    parse(text: string): number | undefined {
      const parsed = parsePort(text);
      if (parsed === undefined) throw Malformed.text(text, "a port");
      return parsed;
    },
  },
};

interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP" | "SCTP";
}

/** What a kubelet sets for a Service (pkg/kubelet/envvars/envvars.go of Kubernetes 1.34, FromServices). */
function serviceLinks(service: string, address: string, ports: readonly ServicePort[]): Record<string, string> {
  const variable = (text: string): string => text.toUpperCase().replaceAll("-", "_");
  const host = address.includes(":") ? `[${address}]` : address;
  const prefix = variable(service);
  const links: Record<string, string> = {
    [`${prefix}_SERVICE_HOST`]: address,
    [`${prefix}_SERVICE_PORT`]: `${ports[0]?.port}`,
  };
  for (const [index, { name, port, protocol }] of ports.entries()) {
    const url = `${protocol.toLowerCase()}://${host}:${port}`;
    const own = `${prefix}_PORT_${port}_${protocol}`;
    if (name !== undefined) links[`${prefix}_SERVICE_PORT_${variable(name)}`] = `${port}`;
    if (index === 0) links[`${prefix}_PORT`] = url;
    links[own] = url;
    links[`${own}_PROTO`] = protocol.toLowerCase();
    links[`${own}_PORT`] = `${port}`;
    links[`${own}_ADDR`] = address;
  }
  return links;
}

/** Every name that a Service may have to look like ours: `contrast`, `contrast-admin`, … */
const SERVICES = [...new Set(KNOWN.flatMap((name) => prefixes(name.toLowerCase().replaceAll("_", "-"))))];

function prefixes(name: string): string[] {
  const words = name.split("-");
  return words.map((_, index) => words.slice(0, index + 1).join("-"));
}

test("a Service changes nothing, whatever its name, its address and its ports", () => {
  const admin = { ...variables, ...ADMIN_PORT };
  const unset = readEnvironment(admin, {});
  const ports = fc.uniqueArray(
    fc.record({
      name: fc.option(fc.constantFrom("http", "web-ui", "port", "tcp", "service-host", "8080-tcp", "admin-port"), {
        nil: undefined,
      }),
      port: fc.integer({ min: 1, max: 65_535 }),
      protocol: fc.constantFrom("TCP", "UDP", "SCTP"),
    }),
    { minLength: 1, maxLength: 3, selector: ({ port }) => port },
  );
  const address = fc.constantFrom("10.96.0.7", "fd00::1", "None", "");
  fc.assert(
    fc.property(fc.constantFrom(...SERVICES), address, ports, (service, at, some) => {
      expect(readEnvironment(admin, serviceLinks(service, at, some as ServicePort[]))).toEqual(unset);
    }),
    { numRuns: 2_000 },
  );
});

test("every form of a link is passed by", () => {
  for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
    for (const address of ["10.0.0.1", "fd00::1"]) {
      const links = serviceLinks("contrast-admin", address, [{ name: "http", port: 80, protocol }]);
      expect(Object.keys(links)).toHaveLength(8);
      expect(withoutServiceLinks(links)).toEqual({});
    }
  }
});

test("a Service can name no variable but those that end like a service link", () => {
  const names = Object.keys(serviceLinks("contrast-admin", "10.96.0.7", [{ name: "web", port: 80, protocol: "TCP" }]));
  expect(nameableByServices(names)).toEqual(names);
  expect(nameableByServices(KNOWN)).toEqual(["CONTRAST_ADMIN_PORT"]);
});

test("a port that is no service link is still looked at", () => {
  expect(() => readEnvironment(ADMIN_PORT, { CONTRAST_ADMIN_PORT: "http://x" })).toThrow("CONTRAST_ADMIN_PORT");
  expect(faultsOf({ CONTRAST_INGRESS_PORT: "8080" })).toEqual([
    "CONTRAST_INGRESS_PORT: an unknown variable, CONTRAST_INGRESS_PORTS",
  ]);
});

test("a constraint is looked at only where its variables are well formed", () => {
  const constraint = {
    about: ["CONTRAST_TIMEOUT"] as const,
    faults: ({ CONTRAST_TIMEOUT: timeout }: { CONTRAST_TIMEOUT: number | undefined }) =>
      timeout === 1000 ? [{ where: "CONTRAST_TIMEOUT", got: "1s", want: "more" }] : [],
  };
  expect(() => readEnvironment(variables, { CONTRAST_TIMEOUT: "1s" }, [constraint])).toThrow(/got 1s, want more/);
  expect(() => readEnvironment(variables, { CONTRAST_TIMEOUT: "1x" }, [constraint])).toThrow(/1 fault\n/);
});

test("one edit is a letter more, less, other, or two swapped", () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 8 }),
      fc.nat(),
      fc.string({ minLength: 1, maxLength: 1 }),
      (text, at, letter) => {
        const index = at % (text.length + 1);
        expect(oneEditApart(text, text.slice(0, index) + letter + text.slice(index))).toBe(true);
        expect(oneEditApart(text, `${text}${letter}${letter}`)).toBe(false);
      },
    ),
  );
});

test.each([
  ["1s", 1000],
  ["500ms", 500],
  ["5m", 300_000],
  ["2h", 7_200_000],
])("%s is %d ms", (text, ms) => {
  expect(duration(0, "").parse(text)).toBe(ms);
});

test.each(["0", "0s", "-1s", "1.5s", "1 s", "s", "", "1d", "9999999999s"])("%j is no duration", (text) => {
  expect(() => duration(0, "").parse(text)).toThrow();
});

test("a port is 1 to 65535, in one way of writing", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 65_535 }), (port) => parsePort(String(port)) === port));
  for (const text of ["0", "65536", "080", "+80", "-1", " 80", "80 ", "8e1", "0x50", "", "８０"]) {
    expect(parsePort(text)).toBeUndefined();
  }
});
