import { array, assert, constantFrom, integer, property, record, string, uniqueArray } from "fast-check";
import { expect, test } from "vitest";
import { Malformed } from "../runtime/environment.ts";
import { parseIngressAllow, printIngressAllow } from "./ingress-allow.ts";

function faultsOf(text: string): string[] {
  try {
    parseIngressAllow(text);
  } catch (error) {
    if (error instanceof Malformed) return error.message.split("\n");
    throw error;
  }
  return [];
}

test("names of every kind are read", () => {
  expect(parseIngressAllow("8080=web,vote-bot##5432=spiffe://mesh/web?a=b;c,203.0.113.34,2001:db8::1")).toEqual([
    { port: 8080, sans: ["web", "vote-bot"] },
    { port: 5432, sans: ["spiffe://mesh/web?a=b;c", "203.0.113.34", "2001:db8::1"] },
  ]);
});

test("an empty text has no entries", () => {
  expect(parseIngressAllow("")).toEqual([]);
});

const PORT = "want a port: 1 to 65535, without sign, space or leading zero";
const FORM = "want <port>=<san>, with further names after commas";
const NAME = "want a DNS name, an IP address or a URI without a comma";

test.each([
  ["8080", [`entry 1 "8080": got "8080", ${FORM}`]],
  ["080=web", [`entry 1 "080=web": got "080", ${PORT}`]],
  ["=web", [`entry 1 "=web": got "", ${PORT}`]],
  ["8080=", [`entry 1 "8080=": got "", ${NAME}`]],
  ["8080=web,", [`entry 1 "8080=web,": got "", ${NAME}`]],
  ["8080=web, db", [`entry 1 "8080=web, db": got " db", ${NAME}`]],
  ["8080=web,web", [`entry 1 "8080=web,web": got "web" again, want each name once`]],
  ["8080=*", [`entry 1 "8080=*": got "*", want names; a port that every workload may connect to has no entry`]],
  ["8080=web#x", [`entry 1 "8080=web#x": got 2 fields, ${FORM}`]],
  ["8080=web##8080=db", [`entry 2 "8080=db": got port 8080 again, want port 8080 once; entry 1 has it`]],
  ["8080=web##", [`entry 2 "": got an empty entry, ${FORM}, entries joined by ## and none after the last`]],
])("%j is rejected", (text, faults) => {
  expect(faultsOf(text)).toEqual(faults);
});

test("everything that is wrong is reported at once", () => {
  expect(faultsOf("0=,*##x")).toHaveLength(4);
});

test("entries that are printed are read as the same entries", () => {
  const san = constantFrom("web", "vote-bot", "a.example.", "203.0.113.34", "2001:db8::1", "spiffe://mesh/web?x=1");
  const entry = record({ port: integer({ min: 1, max: 65_535 }), sans: uniqueArray(san, { minLength: 1 }) });
  const entries = uniqueArray(entry, { selector: ({ port }) => port });
  assert(
    property(entries, (value) => {
      expect(parseIngressAllow(printIngressAllow(value))).toEqual(value);
    }),
  );
});

test("a text that is accepted is printed as it was", () => {
  const piece = constantFrom("8080", "80", "=", ",", "#", "##", "web", "db", "spiffe://mesh/a", "*", " ", "0");
  assert(
    property(
      array(piece).map((pieces) => pieces.join("")),
      string(),
      (text, suffix) => {
        for (const candidate of [text, text + suffix]) {
          if (faultsOf(candidate).length === 0) expect(printIngressAllow(parseIngressAllow(candidate))).toBe(candidate);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
