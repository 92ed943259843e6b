import { readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { defaultCacheDirectory, ImageCache } from "./cache.ts";
import { digest } from "./test-image.ts";
import { temporaryDirectory } from "./test-resolve.ts";

test.each([
  [{}, "/home/a/.cache/contrast/images"],
  [{ XDG_CACHE_HOME: "/cache" }, "/cache/contrast/images"],
  [{ XDG_CACHE_HOME: "" }, "/home/a/.cache/contrast/images"],
  [{ XDG_CACHE_HOME: "relative" }, "/home/a/.cache/contrast/images"],
])("with %j the cache is at %s", (environment, directory) => {
  expect(defaultCacheDirectory(environment, "/home/a")).toBe(directory);
});

test("what was known of a tag is not taken for another", async () => {
  const directory = temporaryDirectory();
  const cache = new ImageCache(directory, () => undefined);
  await cache.writeTag("r.io/app:1", digest("one"));
  expect(await cache.readTag("r.io/app:1")).toBe(digest("one"));
  expect(await cache.readTag("r.io/app:2")).toBeUndefined();
  const tags = join(directory, "tags");
  const [first = ""] = readdirSync(tags);
  await cache.writeTag("r.io/app:2", digest("two"));
  renameSync(join(tags, readdirSync(tags).find((name) => name !== first) ?? ""), join(tags, first));
  expect(await cache.readTag("r.io/app:1")).toBeUndefined();
});
