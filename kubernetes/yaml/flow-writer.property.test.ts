import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseResourceFile } from "../resource-file.ts";
import { rewriteResourceFile } from "../rewrite-resource.ts";

const key = fc.constantFrom("a", "b", "name", "mountPath", "x y", "yes", "");
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(
      fc.string({ unit: "grapheme" }),
      fc.integer(),
      fc.boolean(),
      fc.constantFrom(null, "yes", "[\n ]", "a: b"),
    ),
    fc.array(tie("tree"), { maxLength: 4 }),
    fc.dictionary(key, tie("tree"), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

test("leaves JSON in the form in which it was", () => {
  const indent = fc.constantFrom<string | number>(0, 1, 2, 4, "\t");
  fc.assert(
    fc.property(tree, tree, indent, fc.constantFrom("", "\n", "\r\n"), (before, wanted, space, end) => {
      const write = (value: unknown): string => {
        const text = JSON.stringify(value, null, space) + end;
        return end === "\r\n" ? text.replaceAll(/\r?\n/g, "\r\n") : text;
      };
      const file = parseResourceFile("x.json", write({ kind: "Pod", spec: before }));
      const after = rewriteResourceFile(file, [{ kind: "Pod", spec: wanted }]);
      expect(JSON.parse(after)).toEqual({ kind: "Pod", spec: wanted });
      expect(after).toBe(write(JSON.parse(after)));
    }),
    { numRuns: 1000 },
  );
});
