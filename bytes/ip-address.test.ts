import { expect, test } from "vitest";
import { toHex } from "./encode.ts";
import { ipOctets } from "./ip-address.ts";

test.each([
  ["203.0.113.34", "cb007122"],
  ["0.0.0.0", "00000000"],
  ["::", "00000000000000000000000000000000"],
  ["::1", "00000000000000000000000000000001"],
  ["2001:db8::", "20010db8000000000000000000000000"],
  ["2001:DB8:0:0:1::8", "20010db8000000000001000000000008"],
  ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
  ["::ffff:203.0.113.34", "00000000000000000000ffffcb007122"],
])("%s is %s", (text, octets) => {
  expect(toHex(ipOctets(text))).toBe(octets);
});

test.each(["", "web", "1.2.3", "1.2.3.4.5", "::1%lo", "[::1]", "1::2::3"])("%j is no address", (text) => {
  expect(() => ipOctets(text)).toThrow(TypeError);
});
