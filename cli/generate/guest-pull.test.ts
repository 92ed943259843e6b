import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readInitdata } from "../../manifest/initdata.ts";
import { fromAnnotation } from "../../manifest/initdata-annotation.ts";
import { guestPullOf } from "./guest-pull.ts";
import { addGuestOptions, parseRegistryMirror } from "./guest-options.ts";
import { annotationOf, COORDINATOR, WEB, workspace } from "./test-workspace.ts";
import { Command } from "commander";

let dir: string;
let ca: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "guest-ca-"));
  ca = join(dir, "ca.pem");
  const subject = ["-subj", "/CN=registry CA", "-days", "2"];
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", ...subject];
  execFileSync("openssl", [...args, "-keyout", join(dir, "key.pem"), "-out", ca], { stdio: "ignore" });
});
afterAll(() => rmSync(dir, { recursive: true }));

test("the guests of all pods are told, in the document that is measured", async () => {
  const { run, read } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const plain = (await run()).policies;
  const guestRegistryMirrors = [{ registry: "docker.io", mirror: "mirror.example/docker" }];
  const { policies } = await run({ guestCas: [ca], guestRegistryMirrors });
  expect(policies.map(({ hash }) => hash)).not.toEqual(plain.map(({ hash }) => hash));
  for (const file of ["app/web.yml", "app/coordinator.yml"]) {
    const { pull } = readInitdata(fromAnnotation(annotationOf(await read(file))));
    expect(pull).toContain("mirror.example/docker");
    expect(pull).toContain(JSON.stringify(readFileSync(ca, "utf8")));
  }
  expect((await run({ guestCas: [ca, ca], guestRegistryMirrors })).changedFiles).toEqual([]);
  // What is not said any more is not there any more.
  expect((await run()).policies.map(({ hash }) => hash)).toEqual(plain.map(({ hash }) => hash));
});

test("whatever stands around a certificate, it is the same one", async () => {
  const noisy = join(dir, "noisy.pem");
  writeFileSync(noisy, `# our CA\r\nsubject=registry CA\n${readFileSync(ca, "utf8").replaceAll("\n", "\r\n")}\n`);
  expect(await guestPullOf({ guestCas: [noisy] })).toBe(await guestPullOf({ guestCas: [ca] }));
});

test.each([
  ["a private key beside it", () => readFileSync(ca, "utf8") + readFileSync(join(dir, "key.pem"), "utf8")],
  ["no certificate", () => "nothing"],
  ["a certificate that is none", () => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
])("%s is refused", async (_, content) => {
  const path = join(dir, "bad.pem");
  writeFileSync(path, content());
  await expect(guestPullOf({ guestCas: [path] })).rejects.toMatchObject({ code: "invalid_guest_ca", where: path });
});

test("a file that is not there is named", async () => {
  await expect(guestPullOf({ guestCas: [join(dir, "none")] })).rejects.toMatchObject({ code: "unreadable_file" });
});

test.each([
  ["--guest-https-proxy", "http://user:password@proxy:3128"],
  ["--guest-https-proxy", "socks5://proxy"],
  ["--guest-registry-mirror", "docker.io"],
  ["--guest-registry-mirror", "docker.io=https://mirror"],
  ["--guest-registry-mirror", "docker.io=user:password@mirror"],
  ["--guest-no-proxy", "a b"],
])("%s %s is refused", (flag, value) => {
  const command = addGuestOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  expect(() => command.parse([flag, value], { from: "user" })).toThrow("Want");
});

test("a registry and its mirror", () => {
  expect(parseRegistryMirror("docker.io=mirror.example:5000/docker")).toEqual({
    registry: "docker.io",
    mirror: "mirror.example:5000/docker",
  });
});
