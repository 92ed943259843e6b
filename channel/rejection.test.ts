import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { RejectedSchema } from "../api/channel_pb.ts";
import { Refusal } from "../api/refusal.ts";
import { EvidenceError } from "../attestation/error.ts";
import { describeError } from "../runtime/errors.ts";
import { fromRejected, toRejected, toStatus } from "./rejection.ts";

const travel = (error: unknown) =>
  fromRejected(fromBinary(RejectedSchema, toBinary(RejectedSchema, toRejected(error))));

test("a refusal reads the same on the other side, with what to do next", () => {
  const details = { where: "HOST_DATA", got: "aa", want: "bb", hint: "run `contrast generate` again" };
  for (const error of [new Refusal("policy_not_allowed", "not listed", details), new Refusal("not_owner", "no")]) {
    expect(describeError(travel(error))).toBe(describeError(error));
    expect(travel(error)).toMatchObject({ transient: false, retryAfterMs: 0 });
  }
});

test("what time may mend says how long to wait", () => {
  expect(travel(new Refusal("no_manifest", "none yet"))).toMatchObject({ transient: true, retryAfterMs: 2000 });
  const busy = new Refusal("overloaded", "later", { retryAfterMs: 4321 });
  expect(travel(busy)).toMatchObject({ transient: true, retryAfterMs: 4321 });
});

test("an error that was not made for others is not told", () => {
  expect(toRejected(new Error("the key is 1234"))).toMatchObject({ code: "internal", message: "internal error" });
  expect(toStatus(new Error("the key is 1234"))).toMatchObject({ code: status.INTERNAL, details: "internal error" });
  expect(toStatus(new EvidenceError("report_signature", "wrong")).code).toBe(status.UNAUTHENTICATED);
});

test("what a hostile server says can't command a terminal, nor fill it", () => {
  const text = "\u001b]0;owned\u0007\u202e\r\n";
  const error = fromRejected(create(RejectedSchema, { code: text, message: "x".repeat(1e5), hint: text, got: text }));
  expect(describeError(error)).not.toMatch(/\p{C}/u);
  expect(describeError(error).length).toBeLessThan(5000);
});
