import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestVendor, makeEvidence } from "../../attestation/tdx/test-vendor.ts";
import { startProgram } from "../../test/programs.ts";
import { type Folder, makeFolder } from "./test-command.ts";

/** `contrast evidence` as users run it. */

let folder: Folder;
let quote: string;
let complete: string[];

beforeAll(async () => {
  folder = makeFolder();
  const evidence = makeEvidence(await createTestVendor());
  const { collateral } = evidence;
  quote = folder.put("quote.bin", evidence.quote);
  const files = {
    "--tdx": quote,
    "--tcb-info": folder.put("tcb-info.json", collateral?.tcbInfo ?? ""),
    "--tcb-signing-chain": folder.put("chain.pem", collateral?.signingChain ?? ""),
    "--qe-identity": folder.put("qe.json", collateral?.qeIdentity ?? ""),
    "--pck-crl": folder.put("pck.crl", collateral?.pckCrl ?? ""),
    "--root-ca-crl": folder.put("root.crl", collateral?.rootCrl ?? ""),
  };
  complete = Object.entries(files).flat();
});

afterAll(() => folder.remove());

async function evidence(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const program = startProgram(["cli/main.ts", "evidence", ...args]);
  const code = await program.exited;
  const stderr = program.text.join("\n");
  expect(stderr).not.toMatch(/^\s+at .*:\d+/m);
  return { code, stdout: program.stdout(), stderr };
}

const AT = ["--at", "2026-06-01T02:00:00.5+02:00"];
const anchor = (): string[] => ["--trust-anchor", complete[5] ?? ""];

test("evidence is verified: exit code 0, and the verdict on standard output", async () => {
  const { code, stdout, stderr } = await evidence("verify", ...complete, ...anchor(), ...AT, "--output", "json");
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ verified: true, code: "ok", tcbStatus: "UpToDate", field: null });
});

test("evidence is refused: exit code 3, and the verdict on standard output", async () => {
  const json = await evidence("verify", ...complete, ...AT, "--output", "json");
  expect(json.code).toBe(3);
  expect(JSON.parse(json.stdout)).toMatchObject({ verified: false, code: "untrusted_root", claims: null });
  const text = await evidence("verify", ...complete, ...anchor(), "--at", "2036-06-01T00:00:00Z");
  expect(text.code).toBe(3);
  expect(text.stdout).toContain("verified: false\ncode: collateral_expired\n");
});

test("evidence is shown: exit code 0; malformed evidence is refused with one message and exit code 3", async () => {
  const shown = await evidence("show", quote, "--output", "json");
  expect(shown.code).toBe(0);
  expect(JSON.parse(shown.stdout)).toMatchObject({ kind: "tdx-quote", VERSION: 4 });
  const refused = await evidence("show", folder.put("odd", "\u001b[2Jodd bytes"));
  expect(refused).toMatchObject({ code: 3, stdout: "" });
  expect(refused.stderr).toMatch(/^error: malformed_report: .*offset 0x0/);
  expect(refused.stderr).not.toContain("\n");
});

describe("wrong use", () => {
  test.each<[string, () => string[], RegExp]>([
    ["nothing to do", () => [], /Usage: contrast evidence/],
    ["nothing to show", () => ["show"], /missing required argument 'file'/],
    ["a file that is not there", () => ["show", "/no/such/file"], /unreadable_file.*\/no\/such\/file.*ENOENT/],
    ["a folder", () => ["show", "/tmp"], /unreadable_file.*\/tmp.*EISDIR/],
    ["nothing to verify", () => ["verify"], /usage: .*--snp, --tdx.*neither/],
    ["two kinds of evidence", () => ["verify", "--snp", quote, ...complete], /usage: .*--snp, --tdx.*both/],
    ["two kinds of keys", () => ["verify", "--snp", "a", "--vcek", "b", "--vlek", "c"], /--vcek, --vlek/],
    ["an option of the other kind", () => ["verify", "--snp", "a", "--pck-crl", "b"], /--snp and --pck-crl/],
    ["a status for a report", () => ["verify", "--snp", "a", "--allow-tcb-status", "OutOfDate"], /--allow-tcb-status/],
    ["a product of a quote", () => ["verify", ...complete, "--product", "Milan"], /--tdx and --product/],
    ["half of the collateral", () => ["verify", ...complete.slice(0, 6)], /no --qe-identity, --pck-crl, --root-ca-crl/],
    ["a missing certificate", () => ["verify", "--snp", quote, "--vcek", "/no/vcek"], /unreadable_file.*\/no\/vcek/],
    ["a missing manifest", () => ["verify", ...complete, "-m", "/no/manifest"], /unreadable_file.*\/no\/manifest/],
    ["no manifest", () => ["verify", ...complete, "-m", quote], /malformed_json/],
    ["an unknown option", () => ["verify", "--frobnicate"], /unknown option/],
    ["an unknown product", () => ["verify", "--snp", "a", "--product", "Rome"], /Allowed choices are Milan/],
    ["an unknown status", () => ["verify", "--allow-tcb-status", "uptodate"], /Want one of UpToDate/],
    ["odd hex", () => ["verify", "--report-data", "0x00"], /Want 64 bytes/],
    ["short report data", () => ["verify", "--report-data", "00".repeat(63)], /Want 64 bytes/],
    ["no time", () => ["verify", "--at", "now"], /Want a time like/],
    ["a date", () => ["verify", "--at", "2026-06-01"], /Want a time like/],
    ["a time without a zone", () => ["verify", "--at", "2026-06-01T00:00:00"], /Want a time like/],
    ["30 February", () => ["verify", "--at", "2026-02-30T00:00:00Z"], /Want a time like/],
    ["24 o'clock", () => ["verify", "--at", "2026-02-20T24:00:00Z"], /Want a time like/],
  ])("%s ends with exit code 2 and without a verdict", async (_name, args, message) => {
    const { code, stdout, stderr } = await evidence(...args());
    expect(stderr).toMatch(message);
    expect(stdout).toBe("");
    expect(code).toBe(2);
  });
});
