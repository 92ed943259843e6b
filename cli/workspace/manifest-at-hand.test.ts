import { afterAll, expect, test } from "vitest";
import { makeContext, makeFolder } from "../evidence/test-command.ts";
import { readManifest } from "./manifest-at-hand.ts";

const folder = makeFolder();
afterAll(() => folder.remove());

const { context } = makeContext(new Date("2026-01-01T00:00:00Z"), "text");

test("a manifest with values to be filled in is refused, with each place and what belongs there", async () => {
  const manifest = {
    Policies: {},
    ReferenceValues: {
      snp: [{ ProductName: "Milan", TrustedMeasurement: "", MinimumTCB: { BootloaderVersion: null } }],
    },
  };
  const path = folder.put("open.json", JSON.stringify(manifest));
  await expect(readManifest(context, path)).rejects.toMatchObject({
    code: "invalid_manifest",
    message: expect.stringMatching(new RegExp(`^${path}: reference values have to be filled in by hand, 2 faults\n`)),
    faults: [
      { where: "$.ReferenceValues.snp[0].TrustedMeasurement", want: expect.stringContaining("launch measurement") },
      { where: "$.ReferenceValues.snp[0].MinimumTCB.BootloaderVersion", want: expect.stringContaining("0 to 255") },
    ],
  });
});

test("a malformed manifest is refused by the name of its file", async () => {
  const path = folder.put("malformed.json", "{");
  await expect(readManifest(context, path)).rejects.toMatchObject({
    code: "malformed_json",
    message: expect.stringContaining(`${path}: `),
  });
});

test("says where a manifest comes from where there is none", async () => {
  await expect(readManifest(context, undefined)).rejects.toMatchObject({
    code: "unreadable_file",
    where: "/nonexistent/manifest.json",
    hint: expect.stringContaining("contrast generate"),
  });
});
