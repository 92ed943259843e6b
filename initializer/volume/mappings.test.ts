import { expect, test } from "vitest";
import { mappingNames } from "./mappings.ts";

test("two volumes of a pod have no mapping in common, whatever their names are", () => {
  const parts = ["a", "a-disk", "a-format", "a-dif", "a.disk", "a-disk-disk"];
  const all = parts.flatMap((name) => Object.values(mappingNames(name)));
  expect(new Set(all).size).toBe(all.length);
});
