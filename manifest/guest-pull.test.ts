import { parse } from "smol-toml";
import { expect, test } from "vitest";
import { encodeGuestPull, type GuestPull, readGuestPull } from "./guest-pull.ts";
import { encodeInitdata, readInitdata } from "./initdata.ts";

const PEM = `-----BEGIN CERTIFICATE-----\n${"QUJD".repeat(16)}\nQUJD\n-----END CERTIFICATE-----\n`;
const NOTHING: GuestPull = { rootCertificates: [], httpsProxy: undefined, noProxy: undefined, mirrors: [] };
const ALL: GuestPull = {
  rootCertificates: [PEM, PEM.replace("QUJD\n-", "REVG\n-")],
  httpsProxy: "http://proxy.example:3128",
  noProxy: "10.0.0.0/8,.cluster.local",
  mirrors: [
    { registry: "docker.io", mirror: "mirror.example:5000/docker" },
    { registry: "docker.io", mirror: "second.example" },
    { registry: "ghcr.io/some", mirror: "mirror.example:5000/ghcr" },
  ],
};

test("where there is nothing to say there is no file", () => {
  expect(encodeGuestPull(NOTHING)).toBeUndefined();
});

test("it is what CoCo's data hub reads", () => {
  expect(parse(encodeGuestPull(ALL) ?? "")).toEqual({
    kbc: { name: "offline_fs_kbc", url: "null" },
    image: {
      extra_root_certificates: ALL.rootCertificates,
      image_pull_proxy: { https_proxy: ALL.httpsProxy, no_proxy: ALL.noProxy },
      registry_config: {
        registry: [
          {
            location: "docker.io",
            mirror: [{ location: "mirror.example:5000/docker" }, { location: "second.example" }],
          },
          { location: "ghcr.io/some", mirror: [{ location: "mirror.example:5000/ghcr" }] },
        ],
      },
    },
  });
});

test.each<[string, GuestPull]>([
  ["all of it", ALL],
  ["certificates", { ...NOTHING, rootCertificates: [PEM] }],
  ["a proxy", { ...NOTHING, httpsProxy: "http://p:1" }],
  ["mirrors", { ...NOTHING, mirrors: ALL.mirrors.slice(0, 1) }],
])("%s comes back, out of the document, too", (_, pull) => {
  const toml = encodeGuestPull(pull) ?? "";
  expect(readGuestPull(toml)).toEqual(pull);
  const rego = "package agent_policy\n";
  expect(readInitdata(encodeInitdata(rego, toml))).toEqual({ rego, pull: toml });
});

const WRITTEN = encodeGuestPull(ALL) ?? "";
test.each([
  ["a source of secrets", WRITTEN.replace('"offline_fs_kbc"', '"cc_kbc"')],
  ["the address of one", WRITTEN.replace('url = "null"', 'url = "http://attacker.example"')],
  [
    "credentials of a registry",
    WRITTEN.replace("[image]\n", '[image]\nauthenticated_registry_credentials_uri = "file:///x"\n'),
  ],
  ["a policy of signatures", WRITTEN.replace("[image]\n", '[image]\nimage_security_policy = "{}"\n')],
  ["files to be written", `${WRITTEN}\n[[credentials]]\nresource_uri = "kbs:///a"\npath = "/run/a"\n`],
  ["a registry without TLS", WRITTEN.replace('location = "docker.io"', "$&\ninsecure = true")],
  ["a password", WRITTEN.replace("http://proxy", "http://user:password@proxy")],
  ["another order", WRITTEN.replace('name = "offline_fs_kbc"\nurl = "null"', 'url = "null"\nname = "offline_fs_kbc"')],
  ["a comment", `# ${WRITTEN}`],
  ["nothing", ""],
  ["no TOML", "[["],
])("%s is refused", (_, toml) => {
  expect(toml).not.toBe(WRITTEN);
  expect(() => readGuestPull(toml)).toThrow(expect.objectContaining({ code: "malformed_initdata" }) as Error);
  expect(() => readInitdata(encodeInitdata("package agent_policy\n", toml))).toThrow(
    expect.objectContaining({ code: "malformed_initdata" }) as Error,
  );
});
