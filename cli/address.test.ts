import { expect, test } from "vitest";
import { isUrl, parseApiUrl } from "./address.ts";
import { coordinatorOrUrlOption } from "./options.ts";

const parse = (text: string): unknown => coordinatorOrUrlOption().parseArg?.(text, undefined);

test.each([
  ["https://coordinator.example.com", "https://coordinator.example.com"],
  ["https://Coordinator.example.com:443/", "https://coordinator.example.com"],
  ["HTTPS://coordinator.example.com/mesh/", "https://coordinator.example.com/mesh"],
  ["http://[::1]:1314", "http://[::1]:1314"],
])("%s is the address of an HTTP API", (text, url) => {
  expect(parse(text)).toBe(url);
  expect(isUrl(url)).toBe(true);
});

test.each([
  "https://",
  "https://user:secret@host",
  "https://host/?x=1",
  "https://host/?",
  "https://host/#x",
  "ftp://host",
  "https:host:1313 x",
])("%s is none", (text) => {
  expect(parseApiUrl(text)).toBeUndefined();
  expect(() => parse(text)).toThrow("Want host:port");
});

test("a host by the name of a scheme is a host", () => {
  expect(parse("https")).toBe("https:1313");
  expect(parse("http:1313")).toBe("http:1313");
});
