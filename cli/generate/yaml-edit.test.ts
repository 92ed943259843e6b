import { expect, test } from "vitest";
import { parseResourceFile, rewriteResourceFile } from "./resource-file.ts";

type Change = (value: any) => void; // oxlint-disable-line typescript/no-explicit-any

function edit(text: string, ...changes: Change[]): string {
  const file = parseResourceFile("web.yml", text);
  for (const [index, change] of changes.entries()) change(file.values[index]);
  const result = rewriteResourceFile(file, file.values);
  const again = parseResourceFile("web.yml", result);
  expect(again.values).toEqual(file.values);
  expect(rewriteResourceFile(again, file.values)).toBe(result);
  return result;
}

const POD = `# The web server.
apiVersion: v1
kind:   "Pod"      # quoted
metadata:
  name: web   # the name


  labels: {app: web, tier: 'front'}
spec:
  containers:
    # the server
    - name: web
      image: "web:1"   # pinned
      args: [ -v,   --port=80 ]
      env:
      - name: MODE
        value: |
          multi
          line

    # the helper
    - name: helper
      image: helper:1
  securityContext:
    mode: 0644
---
kind: Other
`;

test("leaves everything as it is where nothing changes", () => {
  expect(edit(POD)).toBe(POD);
});

test("adds a key at the end of its map", () => {
  expect(edit(POD, (pod) => (pod.spec.hostname = "yes"))).toBe(
    POD.replace("    mode: 0644\n", '    mode: 0644\n  hostname: "yes"\n'),
  );
});

test("changes a value and keeps its quotes and its comment", () => {
  const changed = edit(POD, (pod) => {
    pod.spec.containers[0].image = "web:2";
    pod.spec.containers[1].image = "helper:2";
    pod.metadata.name = "site";
  });
  expect(changed).toBe(
    POD.replace('"web:1"', '"web:2"').replace("helper:1", "helper:2").replace("name: web   #", "name: site   #"),
  );
});

test("puts an item before the comment of the first one", () => {
  expect(edit(POD, (pod) => pod.spec.containers.unshift({ name: "init", command: ["a"] }))).toBe(
    POD.replace("  containers:\n", "  containers:\n    - name: init\n      command:\n        - a\n"),
  );
});

test("puts an item behind the last one, and one between two", () => {
  const changed = edit(POD, (pod) => {
    pod.spec.containers.splice(1, 0, { name: "middle" });
    pod.spec.containers.push({ name: "last" });
  });
  expect(changed).toBe(
    POD.replace("          line\n", "          line\n    - name: middle\n").replace(
      "      image: helper:1\n",
      "      image: helper:1\n    - name: last\n",
    ),
  );
});

test("adds to the inner and the outer map that end together", () => {
  const changed = edit("a:\n  b:\n    c: 1", (value) => {
    value.a.b.d = 2;
    value.a.e = 3;
    value.f = [4];
  });
  expect(changed).toBe("a:\n  b:\n    c: 1\n    d: 2\n  e: 3\nf:\n  - 4");
});

test("edits inside flow style", () => {
  const changed = edit(POD, (pod) => {
    pod.metadata.labels.app = "site";
    pod.metadata.labels.new = "x";
    pod.spec.containers[0].args.push("-q");
  });
  expect(changed).toBe(
    POD.replace("{app: web, tier: 'front'}", "{app: site, tier: 'front', new: x}").replace(
      "--port=80 ]",
      "--port=80, -q ]",
    ),
  );
});

test.for([
  ["nothing", "a:\nb: 1\n", "a:\n  x: 1\nb: 1\n"],
  ["nothing but a comment", "a:   # none\nb: 1\n", "a:   # none\n  x: 1\nb: 1\n"],
  ["null", "a: null # none\nb: 1\n", "a: # none\n  x: 1\nb: 1\n"],
  ["an empty map", "a: {} # none\nb: 1\n", "a: # none\n  x: 1\nb: 1\n"],
  ["an empty map at the end", "b: 1\na: {}", "b: 1\na:\n  x: 1"],
  ["text", "a: |\n  old\n  text\nb: 1\n", "a:\n  x: 1\nb: 1\n"],
])("writes a map where there is %s", ([, before = "", after]) => {
  expect(edit(before, (value) => (value.a = { x: 1 }))).toBe(after);
});

test("writes a value where there is none", () => {
  expect(edit("a:   # none\nb: 1\n", (value) => (value.a = "x"))).toBe("a: x   # none\nb: 1\n");
  expect(edit("a:", (value) => (value.a = "x"))).toBe("a: x");
});

test("takes out keys and items", () => {
  const changed = edit(POD, (pod) => {
    pod.spec.containers.shift();
    delete pod.spec.securityContext;
  });
  expect(changed).toBe(
    POD.replace(/ {4}- name: web[^]*? {10}line\n/, "").replace("  securityContext:\n    mode: 0644\n", ""),
  );
});

test("writes lists in the column of their key where the file does so", () => {
  const text = "spec:\n  list:\n  - name: a\n    inner:\n    - 1\n";
  expect(edit(text, (value) => value.spec.list.unshift({ name: "b", more: [{ x: 1 }] }))).toBe(
    text.replace("  list:\n", "  list:\n  - name: b\n    more:\n    - x: 1\n"),
  );
});

test("indents as the file does", () => {
  expect(edit("a:\n    b: 1\n", (value) => (value.a.c = { d: { e: 1 } }))).toBe(
    "a:\n    b: 1\n    c:\n        d:\n            e: 1\n",
  );
});

test("keeps Windows line ends", () => {
  const changed = edit(POD.replaceAll("\n", "\r\n"), (pod) => {
    pod.spec.containers.unshift({ name: "init", args: ["x"] });
    pod.spec.containers[1].image = "web:2";
    pod.spec.more = { a: 1 };
  });
  expect(changed.match(/[^\r]\n/)).toBeNull();
  expect(changed.replaceAll("\r\n", "\n")).toBe(
    edit(POD, (pod) => {
      pod.spec.containers.unshift({ name: "init", args: ["x"] });
      pod.spec.containers[1].image = "web:2";
      pod.spec.more = { a: 1 };
    }),
  );
});

test("keeps a byte order mark and the marks between documents", () => {
  const text = "\uFEFF%YAML 1.2\n---\na: 1\n...\n---\n# b\nb: 1\n...\n";
  expect(
    edit(
      text,
      (value) => (value.x = 1),
      (value) => (value.z = 2),
    ),
  ).toBe("\uFEFF%YAML 1.2\n---\na: 1\nx: 1\n...\n---\n# b\nb: 1\nz: 2\n...\n");
});

test("writes out an alias that is to differ from its anchor", () => {
  const text = "base: &base\n  a: 1\none: *base\ntwo:\n  <<: *base\n  b: 2\n";
  expect(
    edit(text, (value) => {
      value.one = { a: 2 };
      value.two.a = 3;
    }),
  ).toBe("base: &base\n  a: 1\none:\n  a: 2\ntwo:\n  <<: *base\n  b: 2\n  a: 3\n");
});
