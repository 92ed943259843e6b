import { expect, test } from "vitest";
import { parseSan } from "./san.ts";

test.for([
  ["203.0.113.34", "ip"],
  ["2001:db8::1", "ip"],
  ["::ffff:192.0.2.1", "ip"],
  ["spiffe://example.org/web", "uri"],
  ["https://example.org:8443/x?y=%20z", "uri"],
  ["web", "dns"],
  ["web.example.org", "dns"],
  ["xn--bcher-kva.example", "dns"],
  ["_grpc._tcp.web", "dns"],
  ["my_svc", "dns"],
  ["*", "dns"],
  ["*.example.org", "dns"],
  ["1", "dns"],
  ["a".repeat(63), "dns"],
  [`${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`, "dns"],
])("takes %s for %s", ([text = "", kind]) => {
  expect(parseSan(text)).toEqual({ kind, value: text });
});

test.for([
  ["nothing", ""],
  ["a dot at the end", "web."],
  ["an empty label", "web..example"],
  ["a hyphen at the start", "-web"],
  ["a hyphen at the end", "web-"],
  ["a long label", "a".repeat(64)],
  ["a long name", `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(62)}`],
  ["a space", "my web"],
  ["a line break", "web\n"],
  ["a NUL, which hides the rest from C", "web\0.example"],
  ["letters beyond ASCII", "bücher.example"],
  ["a wildcard inside", "web.*.example"],
  ["a partial wildcard", "w*.example"],
  ["two wildcards", "*.*.example"],
  ["a mistyped IP address", "203.0.113.340"],
  ["an IP address with leading zeros", "203.0.113.034"],
  ["an address range", "203.0.113.0/24"],
  ["an address with a zone", "fe80::1%eth0"],
  ["an address in brackets", "[2001:db8::1]"],
  ["a port", "web:8080"],
  ["a URI without scheme", "://web"],
  ["a URI without anything", "spiffe://"],
  ["a URI with a space", "spiffe://example.org/a b"],
  ["a URI beyond ASCII", "spiffe://…"],
  ["a long URI", `spiffe://example.org/${"a".repeat(2048)}`],
])("refuses %s", ([, text = ""]) => {
  expect(parseSan(text)).toBeUndefined();
});
