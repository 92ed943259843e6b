import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { CONTENT_SECURITY_POLICY, PAGE } from "./page.ts";

/** The text between the tags as a browser sees it. */
function inline(tag: string): string[] {
  return Array.from(PAGE.matchAll(new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, "gs")), (match) => match[1] ?? "");
}

test("the page refers to nothing outside itself", () => {
  expect(PAGE).not.toMatch(/https?:|\bsrc=|@import|url\(/);
  const links = Array.from(PAGE.matchAll(/\bhref="([^"]*)"/g), (match) => match[1] ?? "");
  expect(links.length).toBeGreaterThan(0);
  for (const link of links) expect(link).toMatch(/^(#|data:)/);
});

test("the policy allows the page's own script and style, by their hashes, and no other", () => {
  const policy = new Map(
    CONTENT_SECURITY_POLICY.split("; ").map((line) => [line.split(" ")[0], line.split(" ").slice(1)]),
  );
  expect(policy.get("default-src")).toEqual(["'none'"]);
  for (const tag of ["script", "style"]) {
    const hashes = inline(tag).map((text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`);
    expect(hashes).toHaveLength(1);
    expect(policy.get(`${tag}-src`)).toEqual(hashes);
  }
  expect(CONTENT_SECURITY_POLICY).not.toMatch(/unsafe|\*/);
  // Attributes with script or style in them would not be covered by the hashes.
  expect(PAGE.replaceAll(/<(script|style)[^>]*>.*?<\/\1>/gs, "")).not.toMatch(/\s(style|on\w+)=/);
});

test("the script is well formed and finds the elements that it asks for", () => {
  const [script = ""] = inline("script");
  const check = spawnSync(process.execPath, ["--check", "--input-type=module", "-"], { input: script });
  expect(check.stderr.toString()).toBe("");
  expect(check.status).toBe(0);
  const wanted = Array.from(script.matchAll(/byId\("([^"]+)"\)/g), (match) => match[1] ?? "");
  expect(wanted.length).toBeGreaterThan(0);
  for (const id of wanted) expect(PAGE).toContain(`id="${id}"`);
});

test("the page is named, has a language and fits a phone", () => {
  expect(PAGE).toContain('<html lang="en">');
  expect(PAGE).toContain("<title>Emojivoto</title>");
  expect(PAGE).toContain('content="width=device-width, initial-scale=1"');
  expect(PAGE).toContain('role="status"');
});
