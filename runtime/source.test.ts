import { expect, test } from "vitest";
import { sourceOf } from "./source.ts";

test.each([
  ["203.0.113.34", "::ffff:203.0.113.34"],
  ["2001:db8:1:2::1", "2001:db8:1:2:ffff::1"],
  ["fe80::1%eth0", "fe80::1%eth1"],
])("%s and %s are one source", (one, other) => {
  expect(sourceOf(one)).toBe(sourceOf(other));
});

test("a source is an address, or a network of IPv6", () => {
  expect(sourceOf("::ffff:203.0.113.34")).toBe("203.0.113.34");
  expect(sourceOf("2001:db8:1:2::1")).toBe("2001:db8:1:2::/64");
});

test.each([
  ["203.0.113.34", "203.0.113.35"],
  ["::ffff:203.0.113.34", "::ffff:203.0.113.35"],
  ["2001:db8:1:2::1", "2001:db8:1:3::1"],
])("%s and %s are two", (one, other) => {
  expect(sourceOf(one)).not.toBe(sourceOf(other));
});
