import { expect, test } from "vitest";
import { refusal } from "../../kubernetes/test-files.ts";
import { annotationOf, cacheImage, podSpecs, WEB, workspace } from "./test-workspace.ts";
import { FindingsError } from "./finding.ts";
import { regoOf } from "../../manifest/initdata.ts";
import { fromAnnotation } from "../../manifest/initdata-annotation.ts";

test("pins images that are known, says so, and lets the policy demand these", async () => {
  const { run, read, dir, talk } = await workspace({ "web.yml": WEB });
  const digest = await cacheImage(dir, "web:1", { Env: ["MODE=slow", "X=y"] });
  await run();
  const text = await read("app/web.yml");
  expect(text).toContain(`        image: "web:1@${digest}"\n        command: [web, -v]\n`);
  expect(talk).toContain(`pinned web:1@${digest}`);
  const rego = regoOf(fromAnnotation(annotationOf(text)));
  expect(rego).toContain(digest);
  expect(rego).toContain('"X": "y"');

  const before = talk.length;
  expect((await run()).changedFiles).toEqual([]);
  expect(talk.slice(before).filter((line) => line.includes("web:1"))).toEqual([]);
});

test("does not pin what nobody knows, and says which", async () => {
  const { run, read, dir } = await workspace({ "web.yml": WEB });
  const { findings } = await run();
  expect(podSpecs(await read("app/web.yml")).web.containers[0].image).toBe("web:1");
  expect(findings).toContainEqual({
    severity: "warning",
    code: "image_digest",
    where: `${dir}/app/web.yml:24:16, spec.template.spec.containers[0].image`,
    got: "web:1 has no digest and is not in the cache",
    want: "name:tag@sha256:…",
    hint: "run it once without --offline",
  });
  expect(findings.filter(({ got }) => got.includes("contrast/"))).toMatchObject([
    { got: "no digest for contrast/initializer:0.1.0, contrast/mesh-proxy:0.1.0" },
  ]);
});

test("counts the places of an image that stands in several", async () => {
  const { run } = await workspace({ "web.yml": WEB.replace("cache:1", "web:1") });
  const { findings } = await run();
  expect(findings.filter(({ code }) => code === "image_digest").map(({ got }) => got)).toContain(
    "web:1 (and at 1 more) has no digest and is not in the cache",
  );
});

test("warns of a command and a user that only an unknown image tells, and refuses those that a known one does not", async () => {
  const text = WEB.replace("command: [web, -v]", "args: []");
  const { run, dir, read } = await workspace({ "web.yml": text });
  expect((await run()).findings).toContainEqual(
    expect.objectContaining({ severity: "warning", got: "web has no command, and nothing is known about its image" }),
  );
  const before = await read("app/web.yml");
  await cacheImage(dir, "web:1", { User: "nobody" });
  const error = await refusal(run());
  expect((error as FindingsError).findings.filter(({ severity }) => severity === "error")).toMatchObject([
    { code: "image_config", got: "web has no command, and its image has none" },
    { code: "image_config", got: "web runs as a user whose number only the image tells: its USER is a name" },
  ]);
  expect(await read("app/web.yml")).toBe(before);
});

test("refuses a name that is none", async () => {
  const { run } = await workspace({ "web.yml": WEB.replace("web:1", "Web:1") });
  const error = await refusal(run());
  expect(error).toBeInstanceOf(FindingsError);
  expect((error as FindingsError).findings).toContainEqual(
    expect.objectContaining({
      severity: "error",
      code: "image_refused",
      got: expect.stringContaining("Web:1: ") as string,
    }),
  );
});
