import { expect, test } from "vitest";
import { GenerateError } from "./error.ts";
import { parseImageReplacements } from "./image-replacements.ts";

test("reads one replacement from each line", () => {
  const text = "# mirrors\n\nweb:1=mirror/web@sha256:00\r\n  registry:5000/db=db:2  \nsame=same\n";
  expect([...parseImageReplacements(text, "images")]).toEqual([
    ["web:1", "mirror/web@sha256:00"],
    ["registry:5000/db", "db:2"],
    ["same", "same"],
  ]);
});

test("reports everything that is wrong, with the line", () => {
  let error: unknown;
  try {
    parseImageReplacements("web\nweb=\n=web\na=b=c\nweb = db\nx=1\nx=2\ny=x\n", "images");
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(GenerateError);
  expect(error).toMatchObject({ code: "invalid_image_replacements" });
  expect((error as GenerateError).faults.map(({ where }) => where)).toEqual(
    [1, 2, 3, 4, 5, 7, 8].map((line) => `images:${line}`),
  );
});

test("a replacement that only pins is not replaced again, one of a pinned name would be", () => {
  const digest = `@sha256:${"0".repeat(64)}`;
  expect(parseImageReplacements(`web:1=web:1${digest}\n`, "images").size).toBe(1);
  expect(() => parseImageReplacements(`a:1=b:1${digest}\nb:1=c:1\n`, "images")).toThrow(
    "the image replacements are wrong",
  );
});
