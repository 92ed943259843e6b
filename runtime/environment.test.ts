import fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigurationError, oneEditApart, readEnvironment } from "./environment.ts";
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
