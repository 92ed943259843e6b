import fc from "fast-check";
import { parse } from "smol-toml";
import { expect, test } from "vitest";
import { dropIn, EMPTY_CONFIG, versionOf, withHandler, withoutHandler } from "./containerd-config.ts";
import { kataHandler, runcHandler } from "./handler.ts";

const HANDLER = "contrast-cc-metal-qemu-snp-0123abcd";
const TABLES = kataHandler(HANDLER, "/opt/kata/bin/containerd-shim-kata-v2", "/opt/contrast/kata.toml");

const V2 = `# Of the operator.
version = 2 # for 1.x
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause" # kept
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
`;
const V3 = `version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  enable_selinux = false\n`;

function runtimes(text: string, plugin: string): unknown {
  let value: unknown = parse(text);
  for (const key of ["plugins", plugin, "containerd", "runtimes"]) value = Object(value)[key] as unknown;
  return value;
}

test.for<[string, string, string]>([
  ["of containerd 1.x", V2, "io.containerd.grpc.v1.cri"],
  ["of containerd 2.x", V3, "io.containerd.cri.v1.runtime"],
  ["that is empty", EMPTY_CONFIG, "io.containerd.grpc.v1.cri"],
  ["without a last line's end", V3.trimEnd(), "io.containerd.cri.v1.runtime"],
  ["with ends of lines of Windows", V3.replaceAll("\n", "\r\n"), "io.containerd.cri.v1.runtime"],
  ["of version 4", V3.replace("3", "4"), "io.containerd.cri.v1.runtime"],
])("a configuration %s gets the handler, and loses it again", ([, text, plugin]) => {
  const added = withHandler(text, HANDLER, TABLES, "config.toml");
  expect(added.startsWith(text)).toBe(true);
  expect(runtimes(added, plugin)).toMatchObject({
    [HANDLER]: {
      runtime_type: `io.containerd.${HANDLER}.v2`,
      runtime_path: "/opt/kata/bin/containerd-shim-kata-v2",
      privileged_without_host_devices: true,
      options: { ConfigPath: "/opt/contrast/kata.toml" },
    },
  });
  expect(withHandler(added, HANDLER, TABLES, "config.toml")).toBe(added);
  expect(withoutHandler(added, HANDLER).trimEnd()).toBe(text.trimEnd());
});

test("handlers of several versions stand side by side, and go in any order", () => {
  const names = ["contrast-cc-a-1", "contrast-cc-a-11", "contrast-cc-b"];
  const tables = (name: string) => runcHandler(name, { SystemdCgroup: true });
  const all = names.reduce((text, name) => withHandler(text, name, tables(name), "c"), V2);
  expect(Object.keys(Object(runtimes(all, "io.containerd.grpc.v1.cri")))).toEqual(["runc", ...names]);
  for (const order of [names, names.toReversed(), [names[1], names[0], names[2]]]) {
    expect(order.reduce<string>((text, name = "") => withoutHandler(text, name), all)).toBe(V2);
  }
});

test("a handler that changed takes the place of the old one", () => {
  const old = withHandler(V2, HANDLER, runcHandler(HANDLER, {}), "c");
  expect(withHandler(old, HANDLER, TABLES, "c")).toBe(withHandler(V2, HANDLER, TABLES, "c"));
});

test.for([
  ["no TOML", "version = 2\n[plugins", "TOML that containerd reads"],
  ["version 1", "[plugins.cri]\n", "containerd config migrate"],
  ["a version that is text", 'version = "2"\n', "containerd config migrate"],
  [
    "tables in braces",
    'version = 2\nplugins = { "io.containerd.grpc.v1.cri" = { containerd = { runtimes = {} } } }\n',
    undefined,
  ],
  [
    "the handler of somebody else",
    `version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${HANDLER}]\nruntime_type = "x"\n`,
    "a configuration without it",
  ],
] as const)("a configuration with %s is refused by name", ([, text, want]) => {
  expect(() => withHandler(text, HANDLER, TABLES, "/etc/containerd/config.toml")).toThrow(
    expect.objectContaining({
      code: "containerd_config",
      where: "/etc/containerd/config.toml",
      ...(want !== undefined && { want: expect.stringContaining(want) as unknown }),
    }),
  );
});

test("whatever text there is, it is kept or refused", () => {
  const line = fc.oneof(
    fc.constantFrom("[a]", "[plugins]", "# [x]", 'k = """', '"""', "a.b = 1", "[[l]]", "version = 3", "s = '# BEGIN'"),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
      const text = `version = 2\n${lines.join("\n")}`;
      let added: string;
      try {
        added = withHandler(text, HANDLER, TABLES, "c");
      } catch (error) {
        expect(error).toMatchObject({ code: "containerd_config" });
        return;
      }
      expect(added.startsWith(text)).toBe(true);
      expect(withoutHandler(added, HANDLER).trimEnd()).toBe(text.trimEnd());
    }),
  );
});

test("a file of its own has the version of those that import it", () => {
  for (const [version, plugin] of [
    [2, "io.containerd.grpc.v1.cri"],
    [3, "io.containerd.cri.v1.runtime"],
  ] as const) {
    const text = dropIn(version, TABLES);
    expect(versionOf(text, "x")).toBe(version);
    expect(Object.keys(Object(runtimes(text, plugin)))).toEqual([HANDLER]);
  }
});
