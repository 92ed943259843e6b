import { join } from "node:path";
import { expect, test } from "vitest";
import { fromUtf8, toUtf8 } from "../../bytes/encode.ts";
import { encodeInitdata } from "../../manifest/initdata.ts";
import { INITDATA_ANNOTATION, toAnnotation } from "../../manifest/initdata-annotation.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { refusal } from "../../kubernetes/test-files.ts";
import { annotationOf, COORDINATOR, WEB, workspace } from "./test-workspace.ts";

const LABELS = "      labels: {app: web}";

test.for([
  [
    "a port",
    WEB.replace(LABELS, `        contrast.edgeless.systems/servicemesh-admin-interface-port: "09102"\n${LABELS}`),
    "15:69",
    '"09102"',
  ],
  [
    "a role",
    WEB.replace(LABELS, `        contrast.edgeless.systems/pod-role: Coordinator\n${LABELS}`),
    "15:45",
    '"Coordinator"',
  ],
  [
    "a flag",
    WEB.replace(LABELS, `        contrast.edgeless.systems/skip-initializer: "yes"\n${LABELS}`),
    "15:53",
    '"yes"',
  ],
  [
    "a misspelt name",
    WEB.replace("servicemesh-ingress", "servicemesh-ingres"),
    "13:55",
    '"contrast.edgeless.systems/servicemesh-ingres"',
  ],
  [
    "a name",
    WEB.replace(LABELS, `        contrast.edgeless.systems/image-store-size: "1Gi"\n${LABELS}`),
    "15:53",
    '"contrast.edgeless.systems/image-store-size"',
  ],
] as const)("refuses an annotation with %s that is not known", async ([, text, place, got]) => {
  const { run, dir, read } = await workspace({ "web.yml": text });
  const error = await refusal(run());
  expect(error.code).toBe("invalid_annotation");
  expect(error.where).toContain(`${join(dir, "app/web.yml")}:${place}`);
  expect(error.got).toBe(got);
  expect(await read("app/web.yml")).toBe(text);
});

test("checks the mesh rules as the proxy does, and adds their faults to the others", async () => {
  const { run, dir } = await workspace({
    "web.yml": WEB.replace(LABELS, `        contrast.edgeless.systems/pod-role: x\n${LABELS}`)
      .replace("web#8080#false", "web#8080")
      .replace("#127.137.0.1:5432", "#10.0.0.1:5432"),
  });
  const error = await refusal(run());
  const file = join(dir, "app/web.yml");
  expect(error.faults).toEqual([
    expect.objectContaining({ got: '"x"' }) as unknown,
    {
      where: `${file}:13:56, contrast.edgeless.systems/servicemesh-ingress, entry 1 "web#8080"`,
      got: "2 fields",
      want: "<name>#<port>#<disableTLS>",
    },
    expect.objectContaining({ want: "an address of 127.0.0.0/8 or [::1]" }) as unknown,
  ]);
});

test.for([
  ["no name", WEB.replace("  name: web   # its name\n", ""), "5:3, metadata.name", "nothing"],
  ["a name that is a path", WEB.replace("name: web ", "name: ../web "), "5:9, metadata.name", '"../web"'],
  [
    "an annotation that is no string",
    WEB.replace("web#8080#false", "true"),
    "13:56, spec.template.metadata.annotations",
    "true",
  ],
  [
    "no containers",
    WEB.replace(/ {6}containers:[^]* {6}volumes:/, "      volumes:"),
    "17:7, spec.template.spec.containers",
    "nothing",
  ],
  [
    "a container without an image",
    WEB.replace('        image: "web:1"\n', ""),
    "23:9, spec.template.spec.containers[0].image",
    "nothing",
  ],
  [
    "a variable that is no string",
    WEB.replace("value: fast", "value: 1"),
    "27:31, spec.template.spec.containers[0].env[0].value",
    "1",
  ],
] as const)("refuses a workload with %s", async ([, text, place, got]) => {
  const { run, dir } = await workspace({ "web.yml": text });
  const error = await refusal(run());
  expect(error.code).toBe("invalid_resource");
  expect(error.where).toContain(`${join(dir, "app/web.yml")}:${place}`);
  expect(error.got).toBe(got);
});

test("reports the faults of all files together", async () => {
  const { run } = await workspace({
    "a.yml": WEB.replace("web:1", ""),
    "b.yml": WEB.replace("name: web ", "name: W "),
    "c.yml": WEB.replace("name: cache", "name: 1"),
  });
  const error = await refusal(run());
  expect(error.faults).toHaveLength(2);
  for (const { where } of error.faults) expect(error.message).toContain(where);
});

test("refuses a workload that two documents describe", async () => {
  const { run, dir } = await workspace({ "a.yml": COORDINATOR, "b.yml": `${WEB}---\n${COORDINATOR}` });
  expect(await refusal(run())).toMatchObject({
    code: "duplicate_workload",
    where: `${join(dir, "app/b.yml")}:42:1`,
    got: expect.stringContaining(`StatefulSet default/coordinator, as at ${join(dir, "app/a.yml")}:1:1`) as string,
  });
});

test("says so where no pod asks for a confidential VM", async () => {
  const { run, dir } = await workspace({ "a.yml": WEB.replace("contrast-cc", "kata") });
  expect(await refusal(run())).toMatchObject({ code: "no_workloads", where: join(dir, "app/a.yml") });
  expect(await refusal((await workspace({})).run())).toMatchObject({ code: "no_workloads" });
});

test("collects no policies where `generate` was not run", async () => {
  const { dir } = await workspace({ "web.yml": WEB });
  expect(await refusal(collectPolicies([dir]))).toMatchObject({
    code: "invalid_annotation",
    where: `${join(dir, "app/web.yml")}:2:1`,
    got: "a pod without a policy",
  });
});

test.for([
  ["is cut off", (annotation: string) => annotation.slice(0, -8)],
  ["is no base64", () => "policy"],
  ["holds another document", () => toAnnotation(Buffer.from("a = 1\n"))],
  ["holds another version", () => toAnnotation(fromUtf8(toUtf8(encodeInitdata("x\n")).replace("0.1.0", "0.2.0")))],
] as const)("collects no policy that %s, and `generate` writes it anew", async ([, damage]) => {
  const { run, read, write, dir } = await workspace({ "web.yml": WEB });
  await run();
  const text = await read("app/web.yml");
  await write("app/web.yml", text.replace(annotationOf(text), damage(annotationOf(text))));
  expect(await refusal(collectPolicies([dir]))).toMatchObject({
    code: "invalid_annotation",
    where: expect.stringContaining(join(dir, "app/web.yml")) as string,
  });
  await run();
  expect(await read("app/web.yml")).toBe(text);
});

test("writes the annotation in the pod template, whatever the workload has", async () => {
  const text = COORDINATOR.replace(
    "      annotations:\n        contrast.edgeless.systems/pod-role: coordinator\n",
    "",
  ).replace("name: coordinator\nspec", `name: coordinator\n  annotations: {${INITDATA_ANNOTATION}: old}\nspec`);
  const { run, dir } = await workspace({ "a.yml": text });
  const { policies } = await run();
  expect((await collectPolicies([dir])).map(({ hash }) => hash)).toEqual(policies.map(({ hash }) => hash));
});
