import { timingSafeEqual } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import type { Latest } from "./pointer.ts";

/**
 * A change follows what its author has seen.
 *
 * @param latest what is in force; undefined: nothing
 * @param expected SHA-256 of the transition that has to be the latest; all zero: none; undefined: any
 * @throws Refusal `conflict`
 */
export function requireLatest(latest: Latest | undefined, expected: Uint8Array | undefined): void {
  if (expected === undefined) return;
  const actual = Buffer.from(latest?.transition ?? "0".repeat(64), "hex");
  if (expected.length === actual.length && timingSafeEqual(expected, actual)) return;
  throw new Refusal("conflict", "the latest transition is another one", {
    got: actual.toString("hex"),
    want: Buffer.from(expected).toString("hex"),
    hint: "run `contrast verify`, look at what changed, then try again",
  });
}
