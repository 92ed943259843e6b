import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { byPlace, type Finding, findingLine, type FindingsError } from "./finding.ts";
import { refusal } from "../../kubernetes/test-files.ts";
import { COORDINATOR, WEB, workspace } from "./test-workspace.ts";

const finding = (where: string): Finding => ({ severity: "warning", code: "memory", where, got: "a", want: "b" });

test("is one line, with the place first", () => {
  expect(findingLine({ ...finding("a:b/c.yml:3:12, spec.x"), hint: "do so" })).toBe(
    "a:b/c.yml:3:12: warning: spec.x: a, want b; do so [memory]",
  );
  expect(findingLine({ ...finding("c.yml:3:12"), severity: "error" })).toBe("c.yml:3:12: error: a, want b [memory]");
});

test("is sorted by file, line and column", () => {
  const places = ["a:b.yml:2:3, z", "b.yml:1:1, y", "b.yml:2:1, x", "b.yml:10:1, a", "b.yml:10:2"];
  expect(places.toReversed().map(finding).toSorted(byPlace)).toEqual(places.map(finding));
});

test("errors stop and nothing is written; all findings of all files are said, in order", async () => {
  const host = (text: string): string => text.replace("runtimeClassName", "hostNetwork: true\n      runtimeClassName");
  const { run, dir, read, talk } = await workspace({ "web.yml": host(WEB), "coordinator.yml": host(COORDINATOR) });
  const error = await refusal(run());
  expect(error).toMatchObject({ code: "findings", message: "2 errors and 7 warnings: nothing is written" });
  expect(talk).toEqual((error as FindingsError).findings.map(findingLine));
  expect(talk.filter((line) => line.includes("error"))).toEqual([
    `${dir}/app/coordinator.yml:11:20: error: spec.template.spec.hostNetwork: true, want no hostNetwork: the pod runs in a VM of its own [host_access]`,
    `${dir}/app/web.yml:17:20: error: spec.template.spec.hostNetwork: true, want no hostNetwork: the pod runs in a VM of its own [host_access]`,
  ]);
  expect(await read("app/web.yml")).toBe(host(WEB));
  expect((await readdir(dir)).toSorted()).toEqual(["app", "seedshare-owner.pem", "workload-owner.pem"]);
});

test("warnings don't stop, unless they are to", async () => {
  const { run, dir, read } = await workspace({ "web.yml": WEB });
  const error = await refusal(run({ strict: true }));
  expect(error).toMatchObject({ code: "findings", message: "7 warnings: nothing is written" });
  expect(await read("app/web.yml")).toBe(WEB);
  expect((await run()).findings).toEqual((error as FindingsError).findings);
  expect(await readdir(dir)).toContain("manifest.json");
});

test("misses a Coordinator among the resources", async () => {
  const { run, dir } = await workspace({ "web.yml": WEB });
  expect((await run()).findings).toContainEqual(
    expect.objectContaining({ code: "coordinator", where: join(dir, "app/web.yml:2:1") }),
  );
});
