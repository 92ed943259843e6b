import { expect, test } from "vitest";
import { parseResourceFile } from "../resource-file.ts";
import { rewriteResourceFile } from "../rewrite-resource.ts";

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

const SHARED = `c:
  - &base
    name: a
    image: &image nginx:1 # one for all
    resources: &small {memory: 1Gi}
  - name: b
    image: *image # the same
    resources: *small
  - <<: *base # and more
    name: c
`;

test("changes what is shared where it stands, if all are to change", () => {
  const changed = edit(SHARED, (value) => {
    for (const item of value.c) item.image = "nginx:2";
  });
  expect(changed).toBe(SHARED.replace("nginx:1", "nginx:2"));
});

test("writes out what is shared where one of them is to change", () => {
  const one = edit(SHARED, (value) => (value.c[1].image = "nginx:2"));
  expect(one).toBe(SHARED.replace("*image # the same", "nginx:2 # the same"));
  const first = edit(SHARED, (value) => (value.c[0].image = "nginx:2"));
  expect(first).toBe(
    SHARED.replace("nginx:1", "nginx:2").replace("*image # the", "nginx:1 # the") + "    image: nginx:1\n",
  );
});

test("writes out a merge that would bring too much", () => {
  const changed = edit(SHARED, (value) => (value.c[0].tty = true));
  expect(changed).toBe(
    SHARED.replace("1Gi}\n", "1Gi}\n    tty: true\n").replace(
      "<<: *base # and more",
      "image: nginx:1\n    resources:\n      memory: 1Gi # and more",
    ),
  );
});

test("writes out an alias whose anchor goes", () => {
  expect(edit("a:\n  - &x {b: 1}\n  - c\nd: *x # d\n", (value) => value.a.shift())).toBe("a:\n  - c\nd: # d\n  b: 1\n");
  expect(edit("a: &x\n  b: &y 1\nc: *y\nd: {<<: *x, e: 2}\n", (value) => (value.a = 3))).toBe(
    "a: 3\nc: 1\nd: {b: 1, e: 2}\n",
  );
});

test("takes out what stands in brackets", () => {
  expect(edit("a: {b: 1, c: 2, d: 3}\n", (value) => delete value.a.b)).toBe("a: {c: 2, d: 3}\n");
  expect(edit("a: {b: 1, c: 2, d: 3}\n", (value) => delete value.a.d)).toBe("a: {b: 1, c: 2}\n");
  expect(edit("a: [b, c, {d: 1}]\n", (value) => value.a.splice(0, 2, "e"))).toBe("a: [e, {d: 1}]\n");
});

test("gives a key in brackets a value that it did not have", () => {
  expect(edit("a: {b, c: , d}\n", (value) => Object.assign(value.a, { b: 1, c: [2], d: "e, f" }))).toBe(
    'a: {b: 1, c: [2], d: "e, f"}\n',
  );
});

test("keeps items apart whose dashes stand alone", () => {
  const text = "a:\n-\n  # x\n  name: x\n- # y\n  name: y\n-\n- z\n";
  expect(
    edit(text, (value) => {
      value.a.shift();
      value.a[1] = { b: 1, c: 2 };
      value.a.unshift({ name: "w" });
    }),
  ).toBe("a:\n- name: w\n- # y\n  name: y\n- b: 1\n  c: 2\n- z\n");
});

test("drops the tag of a value with the value", () => {
  expect(edit("a: !!str 1 # b\nc: !d {e: 1}\n", (value) => Object.assign(value, { a: "x", c: 2 }))).toBe(
    "a: x # b\nc: 2\n",
  );
});

test("takes text on several lines for one value", () => {
  const text = "a: >-\n  b\n\n  c\nd: e\n  f # g\nh: 'i\n  j'\n";
  expect(edit(text, (value) => Object.assign(value, { a: "x", d: "z", h: "it's", k: "l\nm" }))).toBe(
    "a: x\nd: z # g\nh: 'it''s'\nk: \"l\\nm\"\n",
  );
});
