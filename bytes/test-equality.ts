import { expect } from "vitest";
import { isEqual } from "./encode.ts";

/**
 * For all tests: a Buffer and another Uint8Array of the same bytes are equal. Without it they never would be, and a test that
 * two of them differ would always pass.
 */
expect.addEqualityTesters([
  (one: unknown, other: unknown) =>
    one instanceof Uint8Array && other instanceof Uint8Array ? isEqual(one, other) : undefined,
]);
