import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSimulatedAttester } from "../../attestation/simulated/attester.ts";
import { parseSnpReport } from "../../attestation/snp/report.ts";
import { toHex } from "../../bytes/encode.ts";
import { policyHash } from "../../manifest/initdata.ts";
import { fromAnnotation } from "../../manifest/initdata-annotation.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { type Loose, refusal } from "../../kubernetes/test-files.ts";
import { WEB, COORDINATOR, SNP_VALUES, workspace, podSpecs, annotationOf } from "./test-workspace.ts";

test("changes nothing else: every line of before is there, in order", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run();
  const after = (await read("app/web.yml")).split("\n");
  let at = -1;
  for (const line of WEB.split("\n").filter((line) => !line.includes("runtimeClassName"))) {
    at = after.indexOf(line, at + 1);
    expect(at, line).toBeGreaterThanOrEqual(0);
  }
  const [, service] = (await read("app/web.yml")).split("---\n");
  expect(service).toBe(WEB.split("---\n")[1]);
});

test("changes nothing the second time", async () => {
  const { run, read } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const first = await run();
  const before = await Promise.all(["app/web.yml", "app/coordinator.yml", "manifest.json"].map(read));
  const second = await run();
  expect(await Promise.all(["app/web.yml", "app/coordinator.yml", "manifest.json"].map(read))).toEqual(before);
  expect(first.changedFiles).toHaveLength(3);
  // The lines of the findings are those of the files that were read.
  expect(second).toEqual({ ...first, changedFiles: [], findings: second.findings });
  expect(second.findings).toHaveLength(first.findings.length);
});

test("keeps Windows line ends", async () => {
  const { run, read } = await workspace({ "web.yml": WEB.replaceAll("\n", "\r\n") });
  await run();
  const text = await read("app/web.yml");
  expect(text).not.toMatch(/[^\r]\n/);
  await run();
  expect(await read("app/web.yml")).toBe(text);
});

test("puts the policy into the annotation of the pod template and its hash into the manifest", async () => {
  const { run, read, manifest, dir } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const { policies } = await run();
  const document = fromAnnotation(annotationOf(await read("app/web.yml")));
  const hash = createHash("sha256").update(document).digest("hex");
  expect(policies.map(({ name, kind, namespace }) => [name, kind, namespace])).toEqual([
    ["coordinator", "StatefulSet", undefined],
    ["web", "Deployment", "shop"],
  ]);
  expect(policies[1]).toMatchObject({ hash, file: join(dir, "app/web.yml") });
  expect((await manifest()).Policies).toEqual({
    [policies[0]?.hash ?? ""]: { SANs: ["coordinator", "*"], Role: "coordinator" },
    [hash]: { SANs: ["web", "*"], WorkloadSecretID: "apps/v1/Deployment/shop/web" },
  });
});

test("agrees with what `set` collects and what the Coordinator parses", async () => {
  const { run, editManifest, read, dir } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const { policies } = await run();
  await editManifest((manifest) => (manifest.ReferenceValues.snp = [SNP_VALUES]));
  const collected = await collectPolicies([join(dir, "app")]);
  expect(collected.map(({ hash, name, file }) => ({ hash, name, file }))).toEqual(
    policies.map(({ hash, name, file }) => ({ hash, name, file })),
  );
  expect(collected.map(({ document }) => policyHash(document))).toEqual(policies.map(({ hash }) => hash));
  const manifest = parseManifest(Buffer.from(await read("manifest.json")));
  expect([...manifest.policies.keys()]).toEqual(policies.map(({ hash }) => hash));
});

test("makes the same policy from the same pod, and another one from another pod", async () => {
  const hashes = async (text: string): Promise<string[]> =>
    (await (await workspace({ "a.yml": text })).run()).policies.map(({ hash }) => hash);
  const before = await hashes(WEB);
  expect(await hashes(WEB.replace("replicas: 2", "replicas: 3").replace("# its name", "# x"))).toEqual(before);
  expect(await hashes(WEB.replace("app: web", "app: site"))).toEqual(before);
  for (const [old, changed] of [
    ["web, -v", "web, -q"],
    ["web:1", "web:2"],
    ["value: fast", "value: slow"],
    ["web#8080", "web#8081"],
    ["mountPath: /data", "mountPath: /other"],
    ["name: web   #", "name: site   #"],
    ['"shop"', '"mall"'],
  ] as const) {
    expect(await hashes(WEB.replace(old, changed)), changed).not.toEqual(before);
  }
});

test("--ipv4-only changes the policies and nothing else", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run();
  const before = await read("app/web.yml");
  await run({ ipv4Only: true });
  const after = await read("app/web.yml");
  const regoIn = (text: string): string => fromAnnotation(annotationOf(text)).toString();
  expect(regoIn(after)).toBe(regoIn(before).replace('"ipv6": true', '"ipv6": false'));
  expect(regoIn(after)).not.toBe(regoIn(before));
  expect(after.replace(annotationOf(after), annotationOf(before))).toBe(before);
});

test("an annotation that changes, changes the mesh proxy and the policy and nothing else", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  const before = await read("app/web.yml");
  await write(
    "app/web.yml",
    before.replace("servicemesh-ingress: web#8080#false", "servicemesh-ingress: web#9090#true"),
  );
  await run();
  const after = await read("app/web.yml");
  expect(after.replaceAll("web#9090#true", "web#8080#false").replace(annotationOf(after), annotationOf(before))).toBe(
    before,
  );
  expect(annotationOf(after)).not.toBe(annotationOf(before));
});

test("writes all resources into one file where it is told to, and leaves the others alone", async () => {
  const { run, dir, read } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR.trimEnd() });
  const outputPath = join(dir, "app/out.yml");
  const first = await run({ outputPath });
  expect(await read("app/web.yml")).toBe(WEB);
  expect(Object.keys(podSpecs(await read("app/out.yml")))).toEqual(["coordinator", "web"]);
  expect(first.changedFiles).toEqual([outputPath, join(dir, "manifest.json")]);
  expect((await run({ outputPath })).changedFiles).toEqual([]);
  expect((await collectPolicies([outputPath])).map(({ hash }) => hash)).toEqual(first.policies.map(({ hash }) => hash));
});

test("writes through links and keeps the modes of files", async () => {
  const { run, dir } = await workspace({ "web.yml": WEB });
  await chmod(join(dir, "app/web.yml"), 0o640);
  await symlink(join(dir, "app/web.yml"), join(dir, "link.yml"));
  await run({ paths: [join(dir, "link.yml"), join(dir, "app")] });
  expect((await lstat(join(dir, "link.yml"))).isSymbolicLink()).toBe(true);
  expect((await stat(join(dir, "app/web.yml"))).mode & 0o777).toBe(0o640);
  expect((await readdir(join(dir, "app"))).toSorted()).toEqual(["web.yml"]);
});

test("changes nothing where one of the files can't be written", async () => {
  const { run, dir, read } = await workspace({ "web.yml": WEB });
  await symlink(join(dir, "nowhere/else"), join(dir, "out"));
  const manifestPath = join(dir, "out/manifest.json");
  expect(await refusal(run({ manifestPath }))).toMatchObject({ code: "unwritable_file", where: manifestPath });
  expect(await read("app/web.yml")).toBe(WEB);
  expect(await readdir(join(dir, "app"))).toEqual(["web.yml"]);
});

test("launches a software TEE for every pod, with the policy's hash as its host data", async () => {
  const other = COORDINATOR.replace("name: coordinator\n", "name: web\n  namespace: mall\n").replace(
    "pod-role: coordinator",
    "pod-role: ''",
  );
  const { run, dir, manifest, read } = await workspace({
    "coordinator.yml": COORDINATOR,
    "shop.yml": WEB,
    "mall.yml": other,
  });
  const { policies, fillIn } = await run({ referenceValues: ["simulated"] });
  const tee = join(dir, "simulated-tee");
  expect(policies.map(({ vmDir }) => vmDir)).toEqual(
    ["coordinator", "mall.StatefulSet.web", "shop.Deployment.web"].map((name) => join(tee, name)),
  );
  for (const { hash, vmDir = "" } of policies) {
    const { report } = await (await openSimulatedAttester(vmDir)).collect(Buffer.alloc(64));
    expect(toHex(parseSnpReport(report).hostData)).toBe(hash);
  }
  expect(fillIn).toEqual([]);
  const parsed = parseManifest(Buffer.from(await read("manifest.json")));
  expect(parsed.referenceValues).toMatchObject({ snp: [], tdx: [], insecure: [{}] });
  const { web } = podSpecs(await read("app/shop.yml"));
  expect(web.runtimeClassName).toMatch(/^contrast-cc-simulated-[0-9a-f]{8}$/);
  const simulated = [
    { name: "CONTRAST_TEE", value: "simulated" },
    { name: "CONTRAST_ALLOW_INSECURE", value: "1" },
    { name: "CONTRAST_SIMULATED_TEE_DIR", value: "/simulated-tee" },
  ];
  const always = { name: "COORDINATOR_HOST", value: "coordinator" };
  const ingress = { name: "CONTRAST_INGRESS_PROXY_CONFIG", value: "web#8080#false" };
  const noAdminPort = { name: "CONTRAST_ADMIN_PORT" };
  expect(web.initContainers[0].env).toEqual([always, ...simulated, ingress, noAdminPort]);
  expect((await run({ referenceValues: ["simulated"] })).changedFiles).toEqual([]);

  await run({ referenceValues: ["metal-qemu-snp"] });
  expect(Object.keys((await manifest()).ReferenceValues)).toEqual(["snp"]);
  expect(podSpecs(await read("app/shop.yml")).web.initContainers[0].env).toEqual([always, ingress, noAdminPort]);
});

test("the pods of the simulated platform mount the Secrets that generate writes, and no others do", async () => {
  const { run, dir, read } = await workspace({ "coordinator.yml": COORDINATOR, "shop.yml": WEB });
  const before = await read("app/shop.yml");
  const { policies, secretsPath = "" } = await run({ referenceValues: ["simulated"] });
  expect((await stat(secretsPath)).mode & 0o777).toBe(0o600);
  const { items } = JSON.parse(await readFile(secretsPath, "utf8")) as { items: Loose[] };
  const volume = "contrast-simulated-tee";
  const mount = { name: volume, mountPath: "/simulated-tee", readOnly: true };
  const specs = { ...podSpecs(await read("app/coordinator.yml")), ...podSpecs(await read("app/shop.yml")) };
  for (const { hash, name, namespace } of policies) {
    const source = specs[name].volumes.find((one: Loose) => one.name === volume).secret.secretName as string;
    const secret = items.find(({ metadata }) => metadata.name === source);
    expect(secret).toMatchObject({ kind: "Secret", metadata: namespace === undefined ? {} : { namespace } });
    const out = join(dir, "mounted", name);
    await mkdir(out, { recursive: true });
    for (const [file, data] of Object.entries<string>(secret.data)) {
      await writeFile(join(out, file), Buffer.from(data, "base64"));
    }
    const { report } = await (await openSimulatedAttester(out)).collect(Buffer.alloc(64));
    expect(toHex(parseSnpReport(report).hostData)).toBe(hash);
  }
  expect(specs.web.initContainers[0].volumeMounts).toContainEqual(mount);
  expect(specs.web.containers[0].volumeMounts).not.toContainEqual(mount);
  expect(specs.coordinator.containers[0]).toMatchObject({ volumeMounts: expect.arrayContaining([mount]) as unknown });
  expect(specs.coordinator.containers[0].env).toContainEqual({ name: "CONTRAST_TEE", value: "simulated" });

  const { secretsPath: none } = await run({ referenceValues: ["metal-qemu-snp"] });
  expect(none).toBeUndefined();
  expect(await read("app/shop.yml")).not.toContain("simulated-tee");
  expect(await read("app/coordinator.yml")).not.toContain("simulated");
  expect(before).not.toContain("simulated");
});

test("a TEE that the Coordinator's owner has named stays on a platform with hardware", async () => {
  const image = "          image: contrast/coordinator:0.1.0\n";
  const named = `${image}          env: [{name: CONTRAST_TEE, value: snp}]\n`;
  const { run, read } = await workspace({ "coordinator.yml": COORDINATOR.replace(image, named) });
  await run();
  expect(podSpecs(await read("app/coordinator.yml")).coordinator.containers[0].env).toEqual([
    { name: "CONTRAST_TEE", value: "snp" },
  ]);
});

test("keeps a workload called vendor apart from the software vendor", async () => {
  const { run, dir } = await workspace({ "a.yml": COORDINATOR.replace("name: coordinator\n", "name: vendor\n") });
  const { policies } = await run({ referenceValues: ["simulated"] });
  expect(policies[0]?.vmDir).toBe(join(dir, "simulated-tee", "default.StatefulSet.vendor"));
});
