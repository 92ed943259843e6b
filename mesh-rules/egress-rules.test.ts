import {
  assert,
  constantFrom,
  domain,
  integer,
  ipV4,
  ipV6,
  oneof,
  option,
  property,
  record,
  string,
  tuple,
  uniqueArray,
} from "fast-check";
import { expect, test } from "vitest";
import { Malformed } from "../runtime/environment.ts";
import { parseEgressRules, printEgressRules } from "./egress-rules.ts";
import { formatEndpoint, parseHost } from "./endpoint.ts";

function faultsOf(text: string): string[] {
  try {
    parseEgressRules(text);
  } catch (error) {
    if (error instanceof Malformed) return error.message.split("\n");
    throw error;
  }
  return [];
}

test("the pair of the design is read", () => {
  const text = "emoji#127.137.0.1:8081#emoji-svc:8080##voting#127.137.0.2:8081#voting-svc:8080";
  expect(parseEgressRules(text)).toEqual([
    {
      name: "emoji",
      listen: { host: "127.137.0.1", port: 8081 },
      upstream: { host: "emoji-svc", port: 8080 },
      san: undefined,
    },
    {
      name: "voting",
      listen: { host: "127.137.0.2", port: 8081 },
      upstream: { host: "voting-svc", port: 8080 },
      san: undefined,
    },
  ]);
});

test("an empty text has no rules", () => {
  expect(parseEgressRules("")).toEqual([]);
});

test.each([
  ["emoji-svc:80", { host: "emoji-svc", port: 80 }],
  ["emoji-svc.emojivoto.svc.cluster.local.:80", { host: "emoji-svc.emojivoto.svc.cluster.local.", port: 80 }],
  ["_grpc.A-1.example:80", { host: "_grpc.A-1.example", port: 80 }],
  ["10.0.0.7:65535", { host: "10.0.0.7", port: 65535 }],
  ["[2001:db8::1]:1", { host: "2001:db8::1", port: 1 }],
])("%j is an upstream", (text, upstream) => {
  expect(parseEgressRules(`a#[::1]:1#${text}`)[0]?.upstream).toEqual(upstream);
});

test.each(["web", "*", "203.0.113.34", "2001:db8::1", "spiffe://mesh/web"])("%j can be pinned", (san) => {
  expect(parseEgressRules(`a#127.0.0.1:1#b:2#${san}`)[0]?.san).toBe(san);
});

const PORT = "want a port: 1 to 65535, without sign, space or leading zero";
const LISTEN = "want an address of 127.0.0.0/8 or [::1]";
const HOST = "want a DNS name, an IPv4 address or an IPv6 address in brackets";
const FORM = "want <name>#<ip>:<port>#<host>:<port>, or the same with #<san>";
const EMPTY = `${FORM}, entries joined by ## and none after the last`;
const SAN = "want a DNS name, an IP address or a URI";

test.each([
  // listener
  ["a#10.0.0.1:1#b:2", `got "10.0.0.1", ${LISTEN}`],
  ["a#0.0.0.0:1#b:2", `got "0.0.0.0", ${LISTEN}`],
  ["a#128.0.0.1:1#b:2", `got "128.0.0.1", ${LISTEN}`],
  ["a#127.0.0.01:1#b:2", `got "127.0.0.01", ${LISTEN}`],
  ["a#127.1:1#b:2", `got "127.1", ${LISTEN}`],
  ["a#localhost:1#b:2", `got "localhost", ${LISTEN}`],
  ["a#[::2]:1#b:2", `got "[::2]", ${LISTEN}`],
  ["a#[::]:1#b:2", `got "[::]", ${LISTEN}`],
  ["a#[::ffff:127.0.0.1]:1#b:2", `got "[::ffff:127.0.0.1]", ${LISTEN}`],
  ["a#::1:1#b:2", `got "::1", ${LISTEN}`],
  ["a#127.0.0.1#b:2", `got "127.0.0.1", ${LISTEN}, then a colon and a port`],
  ["a#127.0.0.1:0#b:2", `got "0", ${PORT}`],
  ["a#127.0.0.1:08#b:2", `got "08", ${PORT}`],
  ["a#127.0.0.1: 8#b:2", `got " 8", ${PORT}`],
  ["a#127.0.0.1:+8#b:2", `got "+8", ${PORT}`],
  ["a#127.0.0.1:#b:2", `got "", ${PORT}`],
  // upstream
  ["a#127.0.0.1:1#b:65536", `got "65536", ${PORT}`],
  ["a#127.0.0.1:1#b:02", `got "02", ${PORT}`],
  ["a#127.0.0.1:1#b", `got "b", ${HOST}, then a colon and a port`],
  ["a#127.0.0.1:1#:2", `got "", ${HOST}`],
  ["a#127.0.0.1:1#.:2", `got ".", ${HOST}`],
  ["a#127.0.0.1:1#b..c:2", `got "b..c", ${HOST}`],
  ["a#127.0.0.1:1#-b:2", `got "-b", ${HOST}`],
  ["a#127.0.0.1:1#b c:2", `got "b c", ${HOST}`],
  ["a#127.0.0.1:1#http://b:2", `got "http://b", ${HOST}`],
  ["a#127.0.0.1:1#300.0.0.1:2", `got "300.0.0.1", ${HOST}`],
  ["a#127.0.0.1:1#127.1:2", `got "127.1", ${HOST}`],
  ["a#127.0.0.1:1#0x7f000001:2", `got "0x7f000001", ${HOST}`],
  ["a#127.0.0.1:1#2001:db8::1:2", `got "2001:db8::1", ${HOST}`],
  ["a#127.0.0.1:1#[10.0.0.1]:2", `got "[10.0.0.1]", ${HOST}`],
  [`a#127.0.0.1:1#${"b".repeat(64)}:2`, `got "${"b".repeat(64)}", ${HOST}`],
  // the rest
  ["#127.0.0.1:1#b:2", `got "", want a name that is not empty`],
  ["a#127.0.0.1:1#b:2#", `got "", ${SAN}`],
  ["a#127.0.0.1:1#b:2#w eb", `got "w eb", ${SAN}`],
  ["a#127.0.0.1:1#b:2#web,db", `got "web,db", ${SAN}`],
  ["a#127.0.0.1:1", `got 2 fields, ${FORM}`],
  ["a#127.0.0.1:1#b:2#web#more", `got 5 fields, ${FORM}`],
])("%j is rejected", (text, fault) => {
  expect(faultsOf(text)).toEqual([expect.stringMatching(/^entry 1 ".*": /)]);
  expect(faultsOf(text)[0]?.endsWith(`": ${fault}`)).toBe(true);
});

test("an empty entry is rejected", () => {
  expect(faultsOf("a#127.0.0.1:1#b:2##")).toEqual([`entry 2 "": got an empty entry, ${EMPTY}`]);
});

test("a listener that stands twice is rejected", () => {
  expect(faultsOf("a#127.0.0.1:1#b:2##a#127.0.0.2:1#b:2##c#127.0.0.1:1#d:2")).toEqual([
    'entry 3 "c#127.0.0.1:1#d:2": got listener 127.0.0.1:1 again, want listener 127.0.0.1:1 once; entry 1 has it',
  ]);
});

test("all faults of a text are reported together", () => {
  expect(faultsOf("#10.0.0.1:0#-:0#,##")).toHaveLength(7);
});

test("what is printed is read as the same rules", () => {
  const port = integer({ min: 1, max: 65535 });
  const name = string({ minLength: 1 }).filter((text) => text.trim() !== "" && !text.includes("#"));
  const byte = integer({ min: 0, max: 255 });
  const loopback = oneof(
    tuple(byte, byte, byte).map((rest) => `127.${rest.join(".")}`),
    constantFrom("::1"),
  );
  const host = oneof(domain(), ipV4(), ipV6()).filter(
    (text) => parseHost(text.replace(/^.*:.*$/, "[$&]")) !== undefined,
  );
  const san = option(oneof(domain(), ipV4(), ipV6(), constantFrom("*", "spiffe://mesh/web")), { nil: undefined });
  const rule = record({ name, listen: record({ host: loopback, port }), upstream: record({ host, port }), san });
  assert(
    property(uniqueArray(rule, { selector: ({ listen }) => formatEndpoint(listen) }), (rules) => {
      expect(parseEgressRules(printEgressRules(rules))).toEqual(rules);
    }),
  );
});
