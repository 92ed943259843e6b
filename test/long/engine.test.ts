import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { architecture } from "../../images/architecture.ts";
import { buildEngine, engineSource } from "../../images/engine/build.ts";

/** The native engine of the mesh proxy, built twice. */

const root = join(import.meta.dirname, "../..");
const scratch = mkdtempSync(join(tmpdir(), "contrast-engine-test-"));
afterAll(() => rmSync(scratch, { recursive: true }));

test("the same sources and compiler give the same bytes in another folder", { timeout: 1_800_000 }, async () => {
  const source = join(scratch, "another folder", "crates");
  const from = engineSource(root);
  cpSync(from.source, source, { recursive: true });
  const own = architecture(process.arch);
  const built = [await buildEngine(from, own), await buildEngine({ source, target: join(scratch, "target") }, own)];
  const [one, other] = built.map(({ file }) => readFileSync(file));
  const digest = (bytes?: Buffer): string =>
    createHash("sha256")
      .update(bytes ?? "")
      .digest("hex");
  expect(digest(other)).toBe(digest(one));
  for (const path of [root, homedir(), scratch]) expect(one?.includes(path), path).toBe(false);
});
