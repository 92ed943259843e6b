import { expect, test } from "vitest";
import { Malformed } from "../runtime/environment.ts";
import { coordinatorHost } from "./address.ts";

test.each([
  ["coordinator", "coordinator:7777"],
  ["coordinator.ns.svc:8443", "coordinator.ns.svc:8443"],
  ["127.0.0.1", "127.0.0.1:7777"],
  ["127.0.0.1:1", "127.0.0.1:1"],
  ["::1", "[::1]:7777"],
  ["[::1]", "[::1]:7777"],
  ["[fe80::1]:65535", "[fe80::1]:65535"],
])("%s is %s", (text, target) => {
  expect(coordinatorHost.parse(text)).toBe(target);
});

test.each([
  "",
  ":7777",
  "host:",
  "host:0",
  "host:65536",
  "host:+1",
  "host:01",
  "host:7777:1",
  "[host]:1",
  "a b",
  "http://host",
])("%j is refused", (text) => {
  expect(() => coordinatorHost.parse(text)).toThrow(Malformed);
});
