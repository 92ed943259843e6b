import { join } from "node:path";
import { expect, test } from "vitest";
import { parseResourceFile } from "../../kubernetes/resource-file.ts";
import { refusal } from "../../kubernetes/test-files.ts";
import { INITIALIZER } from "./initializer.ts";
import { COORDINATOR, WEB, workspace } from "./test-workspace.ts";

/** Files in forms that kubectl reads, and few others. */

/** As Argo's own workflows have them: text in quotes whose lines begin in the first column. */
const WORKFLOW = `apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  generateName: bundle-
spec:
  entrypoint: main
  arguments:
    parameters:
    - name: message
      value: "{
\\"build\\": \\"42\\",

# no comment
}"   # one
  templates:
  - name: main
    container: {image: alpine:3.20, command: [sh, -c], args: ['echo
"{{workflow.parameters.message}}"
']}
`;
const JOB = `apiVersion: batch/v1
kind: Job
metadata: {name: run}
spec:
  template:
    spec:
      runtimeClassName: contrast-cc
      restartPolicy: Never
      containers:
      - name: run
        image: job:1
        command: [sh, -c]
        args:
        - "for i in 1 2; do
echo $i
done"    # count
        resources: {limits: {memory: 64Mi}, requests: {memory: 64Mi}}
`;

test.for(["\n", "\r\n"])(
  "edits a workload around text in quotes without indentation, with line ends %j",
  async (eol) => {
    const [workflow, job] = [WORKFLOW, JOB].map((text) => text.replaceAll("\n", eol)) as [string, string];
    const { run, read } = await workspace({ "a.yml": workflow, "b.yml": job });
    expect((await run()).policies).toHaveLength(1);
    expect(await read("app/a.yml")).toBe(workflow);
    const after = await read("app/b.yml");
    expect(after).toContain(`- "for i in 1 2; do${eol}echo $i${eol}done"    # count${eol}`);
    expect(after).toContain(`name: ${INITIALIZER}`);
    const [value] = parseResourceFile("", after).values as readonly [{ spec: { template: { spec: object } } }];
    expect(value.spec.template.spec).toMatchObject({ containers: [{ args: ["for i in 1 2; do echo $i done"] }] });
    if (eol === "\r\n") expect(after).not.toMatch(/[^\r]\n/);
    expect((await run()).changedFiles).toEqual([]);
  },
);

const POD = { apiVersion: "v1", kind: "Pod", metadata: { name: "one" } };
const SPEC = { runtimeClassName: "contrast-cc", containers: [{ name: "web", image: "web:1" }] };

test.for(["", "\n", "\n\n"])("edits JSON objects one behind the other, with %j between them", async (space) => {
  const objects = [
    { ...POD, spec: SPEC },
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "c" }, data: { a: "}{" } },
    { ...POD, metadata: { name: "two" }, spec: SPEC },
  ];
  const config = JSON.stringify(objects[1], undefined, 4);
  const text = [JSON.stringify(objects[0]), config, JSON.stringify(objects[2], undefined, 2)].join(space);
  const { dir, run, read } = await workspace({ "all.json": text, "coordinator.yml": COORDINATOR });
  await run({ outputPath: join(dir, "out.yml") });
  const { policies } = await run();
  expect(policies.map(({ name }) => name)).toEqual(["one", "two", "coordinator"]);
  const after = await read("app/all.json");
  expect(after).toContain(`}${space}${config}${space}{\n  "apiVersion"`);
  expect(parseResourceFile("", after).values).toHaveLength(3);
  for (const part of after.split(space + config + space)) {
    expect(JSON.parse(part)).toMatchObject({ kind: "Pod", spec: { initContainers: [{ name: INITIALIZER }] } });
  }
  // In one file with others there have to be marks: once kubectl has seen YAML, it reads no further object without.
  const joined = (await read("out.yml")).split(/^---\n/m);
  expect(joined.map((part) => parseResourceFile("", part).values.length)).toEqual([1, 1, 1, 1]);
  expect((await run()).changedFiles).toEqual([]);
});

const TWICE = `apiVersion: v1
kind: ConfigMap
metadata:
  name: c
  labels: {a: b, a: c}
data:
  x: "1"
  x: "2"
`;

test("goes on where a key stands twice in a document without pods, and leaves the document as it is", async () => {
  const { dir, run, read } = await workspace({ "a.yml": TWICE, "b.yml": `${TWICE}---\n${WEB}`, "c.yml": COORDINATOR });
  const { findings, policies } = await run();
  expect(policies).toHaveLength(2);
  const twice = findings.filter(({ code }) => code === "duplicate_key");
  expect(twice.map(({ severity, where, got }) => [severity, where.slice(dir.length + 5), got])).toEqual([
    ["warning", "a.yml:5:18", 'the key "a" again'],
    ["warning", "a.yml:8:3", 'the key "x" again'],
    ["warning", "b.yml:5:18", 'the key "a" again'],
    ["warning", "b.yml:8:3", 'the key "x" again'],
  ]);
  expect(await read("app/a.yml")).toBe(TWICE);
  expect((await read("app/b.yml")).startsWith(`${TWICE}---\n# The web server.`)).toBe(true);
  expect(await refusal(run({ strict: true }))).toMatchObject({ code: "findings" });
});

const ROLLOUT = WEB.replace("apps/v1", "argoproj.io/v1").replace("kind: Deployment", "kind: Rollout");

test.for([
  ["a workload", WEB.replace("  replicas: 2\n", "  replicas: 2\n  replicas: 3\n"), "9:3"],
  [
    "one that is none by the last key",
    WEB.replace("contrast-cc\n", "contrast-cc\n      runtimeClassName: runc\n"),
    "18:7",
  ],
  ["a pod of an unknown kind", ROLLOUT.replace("  replicas: 2\n", "  replicas: 2\n  replicas: 3\n"), "9:3"],
  [
    "a list with a workload",
    `{"kind": "List", "apiVersion": "v1", "kind": "List", "items": [${JSON.stringify({ ...POD, spec: SPEC })}]}`,
    "1:38",
  ],
])("stops where a key stands twice in %s", async ([, text = "", place = ""]) => {
  const { run } = await workspace({ "a.yml": COORDINATOR, "b.yml": text });
  const error = await refusal(run());
  expect(error).toMatchObject({ code: "malformed_yaml", message: expect.stringContaining("not certain") as string });
  expect(error.where).toMatch(new RegExp(`/b[.]yml:${place}$`));
});

test("a line that only kubectl ends stops in a workload, and is a warning elsewhere", async () => {
  const config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: b\u2028c\n";
  const { run, write } = await workspace({ "a.yml": COORDINATOR, "b.yml": config });
  const { findings } = await run();
  expect(findings.filter(({ code }) => code === "line_break")).toMatchObject([
    { severity: "warning", where: expect.stringMatching(/b[.]yml:5:7$/) as string },
  ]);
  await write("app/b.yml", WEB.replace("# its name", "# its\rnamespace: other"));
  expect(await refusal(run())).toMatchObject({
    code: "malformed_yaml",
    where: expect.stringMatching(/b[.]yml:5:20$/) as string,
  });
});
