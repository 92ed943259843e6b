import { inspect } from "node:util";
import { expect, test } from "vitest";
import { CodedError, describeError } from "./errors.ts";
import { prettyLine } from "./log.ts";
import { Secret } from "./secret.ts";

const line = { level: "warn", time: "2026-06-01T10:20:30.456Z", program: "coordinator", msg: "refused" };

test("a pretty line has time, level, program, message, and fields as key=value", () => {
  const text = prettyLine(JSON.stringify({ ...line, peer: "127.0.0.1:5", names: ["a b", "c"], n: 1 }), false);
  expect(text).toBe('10:20:30.456 WARN  coordinator refused peer=127.0.0.1:5 names=["a b","c"] n=1\n');
});

test("a pretty line says so where nothing is proven, and has no colours unless asked", () => {
  const json = JSON.stringify({ ...line, insecure: "software TEE" });
  expect(prettyLine(json, false)).toContain("coordinator [INSECURE: software TEE] refused");
  expect(prettyLine(json, false)).not.toContain("\u001b");
  expect(prettyLine(json, true)).toContain("\u001b[33m");
});

test("a pretty line can't be forged by what a peer sends", () => {
  const text = prettyLine(JSON.stringify({ ...line, peer: "x\n10:20:30.456 INFO  coordinator all is well" }), false);
  expect(text.split("\n")).toHaveLength(2);
});

test("neither the message nor a field of a pretty line moves the cursor of a terminal", () => {
  const evil = "\u001b[2J\u009b2J\u007f\r\nall";
  const text = prettyLine(JSON.stringify({ ...line, msg: evil, peer: evil.slice(0, 8) }), false);
  expect(text.match(/\p{Cc}/gu)).toEqual(["\n"]);
  expect(text).toContain("\\u001b[2J\\u009b2J\\u007f\\u000d\\u000aall peer=\\u001b[2J");
});

test("a secret is printed by nobody", () => {
  const secret = new Secret(Buffer.from("hunter2"));
  for (const text of [secret.toString(), JSON.stringify({ secret }), inspect({ secret }), inspect(secret)]) {
    expect(text).toContain("[secret]");
    expect(text).not.toMatch(/hunter2|68 75 6e/);
  }
});

test("an error is one line: code, message, place, got, want, what to do", () => {
  const error = new CodedError("wrong", "it is wrong", { where: "here", got: "a", want: "b", hint: "try c" });
  expect(describeError(error)).toBe("wrong: it is wrong (at here, got a, want b); try c");
  expect(describeError(new Error("plain"))).toBe("plain");
});
