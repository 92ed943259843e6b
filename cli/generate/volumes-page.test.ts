import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { allContainers } from "../../kubernetes/pod-spec.ts";
import { COORDINATOR, cacheImage, podSpecs, workspace } from "./test-workspace.ts";

/** docs/volumes.md: its example is what `generate` takes, and what it says of the result is so. */

const page = readFileSync(join(import.meta.dirname, "../../docs/volumes.md"), "utf8");
const [, example = ""] = /```yaml\n([\s\S]*?)```/.exec(page) ?? [];

test("the example is taken, without a word", async () => {
  const { dir, run, read } = await workspace({
    "db.yml": example,
    "coordinator.yml": COORDINATOR.replace("name: coordinator\n", "name: coordinator\n  namespace: shop\n"),
  });
  await cacheImage(dir, "docker.io/library/postgres:17", { Cmd: ["postgres"] });
  const { findings, volumes } = await run();
  expect(findings.filter(({ where, code }) => where.includes("db.yml") && !code.startsWith("image_"))).toEqual([]);
  expect(volumes).toContain("StatefulSet/db: data on the disk state, encrypted");
  const { db } = podSpecs(await read("app/db.yml"));
  const opener = allContainers(db).find(({ name }) => name === "contrast-volume-state");
  expect(opener?.env).toContainEqual({ name: "CONTRAST_VOLUME_NAME", value: "state-$(POD_NAME)" });
  const before = allContainers(db).map(({ name }) => name);
  expect(before).toEqual(["contrast-initializer", "contrast-volume-state", "contrast-mesh-proxy", "postgres"]);
});
