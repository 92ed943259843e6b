import { expect, test } from "vitest";
import { bits, type ClaimForm, flag, hex, hexOrNone, number, oneOf, text, writeBits } from "./claim-forms.ts";
import { SNP_CLAIM_EXTENSIONS } from "./snp/claims.ts";
import { TDX_CLAIM_EXTENSIONS } from "./tdx/claims.ts";

test.each<[ClaimForm<unknown>, readonly string[], readonly string[]]>([
  [hex("hardware", 2), ["00ff"], ["", "0", "00f", "00FF", "00ff00", "0x00", " 00f", "00fg", "00ff\n"]],
  [hexOrNone("vendor", 1), ["", "0a"], ["a", "0A", "0a0a", " "]],
  [
    number("hardware", 255),
    ["0", "9", "255"],
    ["", "-1", "+1", "00", "01", "256", "1e2", "1.0", " 1", "1\n", "0x1", "٣"],
  ],
  [number("vendor", Number.MAX_SAFE_INTEGER), ["9007199254740991"], ["9007199254740992", "99999999999999999999"]],
  [flag("hardware"), ["true", "false"], ["", "TRUE", "1", "0", "yes", "true "]],
  [
    bits("hardware"),
    ["0x0", "0x1f", "0xffffffffffffffff"],
    ["", "0x", "0x00", "0x01", "0x1F", "1f", "0x10000000000000000"],
  ],
  [oneOf("vendor", ["VCEK", "VLEK"]), ["VCEK"], ["", "vcek", "VCEK ", "constructor"]],
  [text("vendor", 4), ["", "longer than that", "größe"], []],
])("each value is read from one text alone: %o", ({ read }, good, bad) => {
  for (const one of good) expect(String(read(one))).toBe(one);
  for (const one of bad) expect(read(one)).toBeUndefined();
});

test("64 bits are written as they are read", () => {
  for (const value of [0n, 1n, 0x1fn, 2n ** 64n - 1n])
    expect(bits("hardware").read(writeBits(value))).toBe(writeBits(value));
});

test.each([SNP_CLAIM_EXTENSIONS, TDX_CLAIM_EXTENSIONS])("the longest of each claim is one: $arc", ({ forms }) => {
  for (const [name, { longest, read }] of Object.entries(forms)) {
    // There is no software TEE that would say true.
    expect([name, String(read(longest))]).toEqual([name, longest]);
  }
});
