import { expect, test } from "vitest";
import { addressOf, fieldOf, formerOwnersOf, policyOf } from "./question.ts";

test.each([
  ["https://coordinator.example.com", "https://coordinator.example.com/"],
  [" coordinator.example.com ", "https://coordinator.example.com/"],
  ["coordinator.example.com:8443/contrast", "https://coordinator.example.com:8443/contrast"],
  ["HTTPS://Coordinator.Example.com", "https://coordinator.example.com/"],
  ["http://localhost:1314", "http://localhost:1314/"],
  ["http://127.0.0.1:1314", "http://127.0.0.1:1314/"],
])("%j is the address %s", (text, url) => {
  expect(addressOf(text)).toBe(url);
});

test.each([
  "",
  "http://coordinator.example.com",
  "http://localhost.example.com",
  "http://127.0.0.1.example.com",
  "http://127.0.0.1@example.com",
  "https://user:secret@example.com",
  "https://example.com/?x",
  "https://example.com/#x",
  "javascript:alert(1)",
  "javascript://example.com/%0aalert(1)",
  "data:text/html,x",
  "file:///etc/passwd",
  "ftp://example.com",
  "https://",
  "two words",
])("%j is none", (text) => {
  expect(() => addressOf(text)).toThrow(expect.objectContaining({ field: "coordinator" }));
});

test("hashes are 64 hexadecimal digits, in either case, or nothing", () => {
  const [one, other] = ["AB".repeat(32), "cd".repeat(32)];
  expect(policyOf(` ${one}\n`)).toBe(one.toLowerCase());
  expect(policyOf(" ")).toBeUndefined();
  expect(() => policyOf(`${one}0`)).toThrow("64 hexadecimal digits");
  expect(formerOwnersOf(`${one}, ${other}`)).toEqual([one.toLowerCase(), other]);
  expect(formerOwnersOf("")).toEqual([]);
  expect(() => formerOwnersOf(`${one} x`)).toThrow("64 hexadecimal digits");
});

test("a dropped file is a statement if it says so", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  expect(fieldOf(bytes('{"_type":"https://in-toto.io/Statement/v1","predicate":{}}'))).toBe("statement");
  expect(fieldOf(bytes('{"Policies":{}}'))).toBe("manifest");
  expect(fieldOf(Uint8Array.of(0xff, 0xfe))).toBe("manifest");
});
