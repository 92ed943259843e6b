import { isIP } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isIpAddress } from "./ip-address.ts";

/** What addresses are made of, so that many are ones and the others nearly. */
const piece = fc.constantFrom(":", "::", ".", "0", "1", "25", "255", "256", "01", "f", "aBcd", "12345", "g", "1.2.3.4");
const byte = fc.nat(256).map(String);
const ipv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join("."));
const group = fc.nat(0x1_0000).map((number) => number.toString(16));
const ipv6 = fc
  .tuple(fc.array(group, { maxLength: 8 }), fc.array(group, { maxLength: 8 }), fc.constantFrom(":", "::", "", ":::"))
  .map(([head, tail, between]) => `${head.join(":")}${between}${tail.join(":")}`);
const mixed = fc.tuple(ipv6, fc.constantFrom(":", "::", ""), ipv4).map((parts) => parts.join(""));

test("an address is one where Node says so, but for zones", () => {
  let addresses = 0;
  const pieces = fc.array(piece, { maxLength: 16 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), ipv4, ipv6, mixed, pieces), (text) => {
      expect(isIpAddress(text)).toBe(isIP(text) !== 0 && !text.includes("%"));
      if (isIpAddress(text)) addresses++;
    }),
    { numRuns: 5000 },
  );
  expect(addresses).toBeGreaterThan(1000);
});

test.for([
  "1.2.3.4\n",
  "::1\n",
  "\n::1",
  "::1 ",
  "::1%eth0",
  "1.2.3.4%1",
  "１.2.3.4",
  "::ffff:1.2.3.4:1",
  "1::2::3",
  ":",
])("%j is none", (text) => {
  expect(isIpAddress(text)).toBe(false);
});
