import { expect, test } from "vitest";
import { parseChallenges } from "./challenge.ts";

test.each<[string, readonly unknown[]]>([
  ["", []],
  ["Basic", [["basic", {}]]],
  [`Bearer realm="https://a/b",service="c"`, [["bearer", { realm: "https://a/b", service: "c" }]]],
  [`BEARER Realm=x , , scope = "a,b c"`, [["bearer", { realm: "x", scope: "a,b c" }]]],
  [
    `Negotiate, Basic realm="a \\"quoted\\" one", Bearer realm=r`,
    [
      ["negotiate", {}],
      ["basic", { realm: `a "quoted" one` }],
      ["bearer", { realm: "r" }],
    ],
  ],
  [`Bearer realm="never closed`, [["bearer", {}]]],
  [`="x"`, []],
])("%s", (header, challenges) => {
  const parsed = parseChallenges(header);
  expect(parsed.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])).toEqual(challenges);
});
