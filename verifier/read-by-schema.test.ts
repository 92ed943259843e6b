import { expect, test } from "vitest";
import * as z from "zod/mini";
import { readBySchema } from "./read-by-schema.ts";

const schema = z.strictObject({ list: z.array(z.strictObject({ name: z.string(), kind: z.enum(["a", "b"]) })) });

test("what fits is read, and the first thing that does not is named", () => {
  const json = { list: [{ name: "one", kind: "a" }] };
  expect(readBySchema(schema, json)).toEqual({ value: json });
  const path = (json: unknown): unknown => readBySchema(schema, json);
  expect(path({ list: [{ name: 1, kind: "a" }] })).toMatchObject({ path: ["list", "0", "name"] });
  expect(path({ list: [{ name: "one", kind: "c" }] })).toMatchObject({ path: ["list", "0", "kind"] });
  expect(readBySchema(schema, undefined)).toMatchObject({ path: [] });
});

test("more faults than there is room for are refused as one", () => {
  const many = (length: number) => ({ list: Array.from({ length }, () => ({})) });
  // As many as are looked at, each with two faults.
  expect(readBySchema(schema, many(99_000))).not.toHaveProperty("value");
  for (const json of [many(101_000), { list: Array.from({ length: 3_000_000 }, () => 0) }]) {
    expect(readBySchema(schema, json)).toEqual({ path: [], want: "at most 100000 values" });
  }
});
