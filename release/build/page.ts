import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { contentSecurityPolicy } from "../../page/policy.ts";
import { PAGE_STYLE } from "../../page/style.ts";
import { STYLE } from "../../report/style.ts";
import { bundleForAll } from "./verifier.ts";

/**
 * Makes the page that verifies in a browser: one file, so that one digest says all of it, and a browser opens it from a web
 * server, from a disk, or from `contrast verify --serve`. The same sources give the same bytes.
 *
 * @param directory where index.html goes
 */
export async function buildPage(root: string, directory: string): Promise<void> {
  const template = await readFile(join(root, "page", "index.html"), "utf8");
  const script = await bundleForAll(root, join(root, "page/program.ts"));
  // What would end the element, or begin a comment in which its end is overlooked (HTML, "script data state").
  if (/<!--|<\/?script/i.test(script)) throw new Error("page/program.ts: the bundle has text that ends a script");
  const style = `${STYLE}${PAGE_STYLE}`;
  const policy = contentSecurityPolicy({ script: digestOf(script), style: digestOf(style) });
  const page = fillIn(template, [
    [`http-equiv="Content-Security-Policy" content="`, `"`, policy],
    ["<style>", "</style>", style],
    [`<script type="module">`, "</script>", script],
  ]);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "index.html"), page);
}

/** CSP Level 3 §2.3.1, hash-source. */
function digestOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

/** @param places what stands before and after a place that is empty in the template, and what belongs there */
function fillIn(template: string, places: readonly (readonly [before: string, after: string, part: string])[]): string {
  return places.reduce((page, [before, after, part]) => {
    const [head, tail, ...others] = page.split(`${before}${after}`);
    if (head === undefined || tail === undefined || others.length > 0) {
      throw new Error(`page/index.html: want once ${before}${after}`);
    }
    return `${head}${before}${part}${after}${tail}`;
  }, template);
}
