import { expect, test } from "vitest";
import { EMOJI, findByShortcode } from "./emoji-list.ts";

test("every entry is one emoji, and none is there twice", () => {
  for (const { shortcode, unicode } of EMOJI) {
    expect(shortcode).toMatch(/^:[a-z_]+:$/);
    expect(unicode, shortcode).toMatch(/^\p{RGI_Emoji}$/v);
  }
  expect(new Set(EMOJI.map(({ unicode }) => unicode)).size).toBe(EMOJI.length);
  expect(EMOJI.length).toBeGreaterThanOrEqual(100);
});

test("an emoji is found by its shortcode and by nothing else", () => {
  expect(findByShortcode(":doughnut:")).toEqual({ shortcode: ":doughnut:", unicode: "🍩" });
  for (const stranger of ["doughnut", ":DOUGHNUT:", ":constructor:", ""]) {
    expect(findByShortcode(stranger)).toBeUndefined();
  }
});
