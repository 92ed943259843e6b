import fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigurationError } from "./environment.ts";
import { CodedError } from "./errors.ts";
import { describeFailure } from "./failure.ts";

test("an error of ours is its description", () => {
  const error = new CodedError("wrong", "it is wrong", { where: "here", got: "a", want: "b", hint: "try c" });
  expect(describeFailure(error)).toEqual({ code: "wrong", text: "wrong: it is wrong (at here, got a, want b); try c" });
});

test("what is not ours has a code and a next step", () => {
  const refused = Object.assign(new Error("EACCES: permission denied, open '/x'"), { errno: -13, syscall: "open" });
  expect(describeFailure(refused).text).toMatch(/^system: the operating system refused \(got EACCES: .*'\/x'\); make/);
  expect(describeFailure(new Error("x is not a function")).text).toMatch(/^internal: x is not .*; this is a fault/);
  expect(describeFailure(undefined).text).toMatch(/^internal: undefined; /);
});

test("of many faults the first are told, and how many there are", () => {
  const faults = Array.from({ length: 90 }, (_, index) => ({
    where: `RULE_${index}`,
    got: '"x"',
    want: "y".repeat(80),
  }));
  expect(describeFailure(new ConfigurationError(faults)).text).toMatch(
    /^configuration: 90 faults, the first \d+: RULE_0: got "x", want y+; RULE_1: .*; correct these variables .* again$/,
  );
});

test("whatever it is about, it is one line that a kubelet shows whole, with the code first and the next step last", () => {
  const anything = fc.string({ unit: "binary", maxLength: 2_000 });
  const long = fc.constantFrom("é\u0000\n\u001b[31m\ud83d".repeat(2_000), '"\\'.repeat(3_000), "", "short");
  const part = fc.oneof(anything, long);
  fc.assert(
    fc.property(part, part, part, part, (message, where, got, want) => {
      const { text } = describeFailure(new CodedError("wrong", message, { where, got, want, hint: "try again" }));
      expect(text.startsWith("wrong: ")).toBe(true);
      expect(text.endsWith("; try again")).toBe(true);
      expect(text).not.toMatch(/\p{Cc}/u);
      expect(Buffer.byteLength(JSON.stringify(text))).toBeLessThanOrEqual(1_600);
    }),
    { numRuns: 60 },
  );
});
