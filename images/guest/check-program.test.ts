import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { buildCheck, cargo } from "./check-program.ts";
import { lacksCargo } from "./test-vm.ts";

const lacks = lacksCargo();
const label = (what: string): string => (lacks === undefined ? what : `${what}: ${lacks}`);

const folder = mkdtempSync(join(tmpdir(), "contrast-check-program-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const cache = join(import.meta.dirname, "../../node_modules/.cache/guest-check");
const vectors = join(import.meta.dirname, "../../../shared/vectors");

describe.skipIf(lacks !== undefined)(label("the check"), { timeout: 300_000 }, () => {
  test("passes its own tests", async () => {
    await cargo(["test"], cache);
  });

  test("has the same bytes when it is built in another folder", async () => {
    const copy = join(folder, "another folder");
    cpSync(join(import.meta.dirname, "check"), copy, { recursive: true });
    const [one, other] = [await buildCheck(cache), await buildCheck(join(folder, "cache"), undefined, copy)];
    const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    expect(digest(other.bytes)).toBe(digest(one.bytes));
    expect(one.bytes.includes(homedir())).toBe(false);
  });
});

const canReadRecorded = lacks === undefined && existsSync(vectors);

describe.skipIf(!canReadRecorded)("recorded reports in the check", { timeout: 300_000 }, () => {
  const accept = (kind: string, file: string, reportData: string, hostData: string): Promise<void> => {
    const env = {
      RECORDED_KIND: kind,
      RECORDED_FILE: join(vectors, file),
      RECORDED_REPORT_DATA: reportData,
      RECORDED_DIGEST: hostData,
    };
    return cargo(["test", "--", "--ignored"], cache, { env });
  };

  test.each(["snp-milan-v2-google", "snp-milan-v3-aci", "snp-genoa-v3-aci"])("%s", async (name) => {
    const text = readFileSync(join(vectors, name, "parsed.json"), "utf8");
    const golden = JSON.parse(text) as { report_data: string; host_data: string };
    await accept("snp", `${name}/report.bin`, golden.report_data, golden.host_data);
  });

  test("a TD report, whose registers are zero", async () => {
    await accept("tdx", "tdreport-coco/tdreport.bin", "00".repeat(64), "00".repeat(32));
  });
});
