import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ManifestError } from "../../manifest/error.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { type ManifestFile, withNotBefore } from "./manifest-file.ts";
import { requireFilledIn } from "../workspace/open-values.ts";
import { type Loose } from "../../kubernetes/test-files.ts";
import { annotationOf, COORDINATOR, SNP_VALUES, WEB, type Workspace, workspace } from "./test-workspace.ts";

test("keeps names, secrets, owners and reference values of the manifest when pods change", async () => {
  const { run, editManifest, manifest, read, write } = await workspace({
    "web.yml": WEB,
    "coordinator.yml": COORDINATOR,
  });
  const [coordinator, web] = (await run()).policies;
  await editManifest((value) => {
    value.Policies[web?.hash ?? ""].SANs = ["web.example.com", "203.0.113.34"];
    value.Policies[web?.hash ?? ""].WorkloadSecretID = "shop";
    value.Policies[web?.hash ?? ""].Transit = { LatestVersion: 2 };
    value.Policies[coordinator?.hash ?? ""].SANs.push("coordinator.example.com");
    value.ReferenceValues.snp = [SNP_VALUES];
    value.WorkloadOwnerKeyDigests.unshift("ab".repeat(32));
  });
  const before = await manifest();
  await write("app/web.yml", (await read("app/web.yml")).replace("web:1", "web:2"));
  const { policies, fillIn } = await run();
  expect(fillIn).toEqual([]);
  expect(policies[1]?.hash).not.toBe(web?.hash);
  expect(await manifest()).toEqual({
    ...before,
    Policies: {
      [policies[0]?.hash ?? ""]: before.Policies[coordinator?.hash ?? ""],
      [policies[1]?.hash ?? ""]: {
        SANs: ["web.example.com", "203.0.113.34"],
        WorkloadSecretID: "shop",
        Transit: { LatestVersion: 2 },
      },
    },
  });
});

test("writes how long certificates live, so that people see it, and keeps what they make of it", async () => {
  const { run, editManifest, manifest } = await workspace({ "web.yml": WEB });
  await run();
  expect((await manifest())["CertificateLifetime"]).toBe("8760h");
  await editManifest((value) => (value["CertificateLifetime"] = "1h30m"));
  await run();
  expect((await manifest())["CertificateLifetime"]).toBe("1h30m");
  await editManifest((value) => (value["CertificateLifetime"] = "30m"));
  await expect(run()).rejects.toMatchObject({ code: "invalid_manifest", where: "$.CertificateLifetime" });
});

test("refuses names of the Coordinator's, and writes nothing", async () => {
  const { run, editManifest, read } = await workspace({ "web.yml": WEB });
  const [web] = (await run()).policies;
  await editManifest((value) => value.Policies[web?.hash ?? ""].SANs.push("*.contrast.internal"));
  const before = await read("manifest.json");
  await expect(run()).rejects.toMatchObject({
    code: "invalid_manifest",
    where: expect.stringMatching(/^\$\.Policies\["[0-9a-f]{64}"\]\.SANs\[\d\]$/) as string,
    got: "*.contrast.internal",
  });
  expect(await read("manifest.json")).toBe(before);
});

test("refuses names that no certificate has room for, and writes nothing", async () => {
  const { run, editManifest, read } = await workspace({ "web.yml": WEB });
  const [web] = (await run()).policies;
  const names = Array.from({ length: 200 }, (_, index) => `web-${index}.shop.svc.cluster.local`);
  await editManifest((value) => (value.Policies[web?.hash ?? ""].SANs = names));
  const before = await read("manifest.json");
  await expect(run()).rejects.toMatchObject({
    code: "certificate_too_long",
    where: `$.Policies["${web?.hash}"].SANs`,
    got: expect.stringMatching(/up to \d{4,5} bytes/) as string,
    want: expect.stringContaining("9216 bytes") as string,
  });
  expect(await read("manifest.json")).toBe(before);
});

test("finds a pod's names again in resources that come without annotations", async () => {
  const { run, editManifest, manifest, write } = await workspace({ "web.yml": WEB });
  const [web] = (await run()).policies;
  await editManifest((value) => (value.Policies[web?.hash ?? ""].SANs = ["web.example.com"]));
  await write("app/web.yml", WEB.replace("web:1", "web:2"));
  await run();
  expect(Object.values((await manifest()).Policies)).toEqual([
    { SANs: ["web.example.com"], WorkloadSecretID: "apps/v1/Deployment/shop/web" },
  ]);
});

const OTHER = WEB.replace("name: web ", "name: other ");

/** What the manifest grants, by the name of the workload whose policy it is. */
async function granted({ run, manifest }: Workspace, options?: object): Promise<Loose> {
  const { policies } = await run(options);
  const { Policies } = await manifest();
  return Object.fromEntries(policies.map(({ name, hash }) => [name, Policies[hash]]));
}

/** A workspace whose pods have names and secrets that somebody chose. */
async function chosen(files: Record<string, string>, name: string): Promise<Workspace> {
  const made = await workspace(files);
  const { policies } = await made.run();
  const hash = policies.find((policy) => policy.name === name)?.hash ?? "";
  await made.editManifest((value) => {
    value.Policies[hash] = { SANs: [name, `${name}.example.com`], WorkloadSecretID: "chosen" };
  });
  return made;
}

const CHOSEN = { SANs: ["web", "web.example.com"], WorkloadSecretID: "chosen" };

test("the copy of a file gets neither names nor secrets of its original, also when both change", async () => {
  const made = await chosen({ "b.yml": WEB }, "web");
  const copy = (await made.read("app/b.yml")).replace("name: web ", "name: other ");
  await made.write("app/a.yml", copy);
  const other = { SANs: ["other", "*"], WorkloadSecretID: "apps/v1/Deployment/shop/other" };
  expect(await granted(made)).toEqual({ other, web: CHOSEN });

  const again = await chosen({ "b.yml": WEB }, "web");
  await again.write("app/a.yml", copy.replace("web:1", "web:2"));
  await again.write("app/b.yml", (await again.read("app/b.yml")).replace("web:1", "web:2"));
  expect(await granted(again)).toEqual({ other, web: CHOSEN });
});

test("a file that is renamed, and a pod that is renamed, keep their names and secrets", async () => {
  const made = await chosen({ "a.yml": WEB, "b.yml": OTHER }, "web");
  const [web, other] = await Promise.all(["app/a.yml", "app/b.yml"].map(made.read));
  await made.write("app/a.yml", other ?? "");
  await made.write("app/b.yml", web ?? "");
  const before = await granted(made);
  expect(before).toMatchObject({ web: CHOSEN, other: { SANs: ["other", "*"] } });
  await made.write("app/b.yml", (web ?? "").replace("name: web ", "name: site "));
  expect(await granted(made)).toEqual({ other: before.other, site: CHOSEN });
});

test("pods whose annotations were swapped keep what is theirs", async () => {
  const made = await workspace({ "a.yml": WEB, "b.yml": OTHER });
  const before = await granted(made);
  const [web = "", other = ""] = await Promise.all(["app/a.yml", "app/b.yml"].map(made.read));
  const swap = (text: string, from: string): string => text.replace(annotationOf(text), annotationOf(from));
  await made.write("app/a.yml", swap(web, other).replace("web:1", "web:2"));
  await made.write("app/b.yml", swap(other, web).replace("web:1", "web:2"));
  expect(await granted(made)).toEqual(before);
});

test("pods that share a secret go on sharing it", async () => {
  const made = await workspace({ "a.yml": OTHER, "b.yml": WEB });
  const { policies } = await made.run();
  const secret = "apps/v1/Deployment/shop/web";
  await made.editManifest((value) => (value.Policies[policies[0]?.hash ?? ""].WorkloadSecretID = secret));
  for (const name of ["app/a.yml", "app/b.yml"]) {
    await made.write(name, (await made.read(name)).replace("web:1", "web:2"));
  }
  expect(await granted(made)).toEqual({
    other: { SANs: ["other", "*"], WorkloadSecretID: secret },
    web: { SANs: ["web", "*"], WorkloadSecretID: secret },
  });
});

test("remembers by the file that it wrote whose policy was whose, where the input stays as it is", async () => {
  const made = await workspace({ "web.yml": WEB });
  const outputPath = join(made.dir, "out.yml");
  const { policies } = await made.run({ outputPath });
  await made.editManifest((value) => (value.Policies[policies[0]?.hash ?? ""] = CHOSEN));
  await made.write("app/web.yml", WEB.replace("web:1", "web:2"));
  expect(await granted(made, { outputPath })).toEqual({ web: CHOSEN });
});

test("a Coordinator that is to follow another takes its names", async () => {
  const made = await workspace({ "a.yml": COORDINATOR });
  await made.run();
  await made.editManifest((value) => {
    for (const policy of Object.values<Loose>(value.Policies)) policy.SANs.push("coordinator.example.com");
  });
  const next = COORDINATOR.replace("name: coordinator\n", "name: coordinator-next\n").replace("0.1.0", "0.2.0");
  await made.write("app/b.yml", next);
  const policy = { SANs: ["coordinator", "*", "coordinator.example.com"], Role: "coordinator" };
  expect(await granted(made)).toEqual({ coordinator: policy, "coordinator-next": policy });
});

test("takes policies out that no pod has, and says so", async () => {
  const { run, dir, manifest, talk } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const [, web] = (await run()).policies;
  await unlink(join(dir, "app/web.yml"));
  await run();
  expect(Object.values((await manifest()).Policies)).toEqual([{ SANs: ["coordinator", "*"], Role: "coordinator" }]);
  expect(talk).toContainEqual(expect.stringContaining(`removed policy ${web?.hash} (web, *), which no given pod has`));
});

test("lists the values that only the operator knows, until they are filled in", async () => {
  const { run, editManifest, read } = await workspace({ "web.yml": WEB });
  const { fillIn } = await run();
  expect(fillIn.map(({ where }) => where)).toEqual(
    [
      "ProductName",
      "TrustedMeasurement",
      "MinimumTCB.BootloaderVersion",
      "MinimumTCB.TEEVersion",
      "MinimumTCB.SNPVersion",
      "MinimumTCB.MicrocodeVersion",
    ].map((name) => `$.ReferenceValues.snp[0].${name}`),
  );
  const bytes = Buffer.from(await read("manifest.json"));
  expect(() => parseManifest(bytes)).toThrow(ManifestError);
  expect(() => requireFilledIn(bytes)).toThrow(
    expect.objectContaining({
      code: "invalid_manifest",
      faults: fillIn.map((value) => ({ ...value, got: "nothing yet" })),
    }) as Error,
  );
  await editManifest((manifest) => Object.assign(manifest.ReferenceValues.snp[0], SNP_VALUES));
  expect((await run()).fillIn).toEqual([]);
  requireFilledIn(Buffer.from(await read("manifest.json")));
});

test("keeps a signer of images that the operator names in place of the measurement", async () => {
  const { run, editManifest, manifest } = await workspace({ "web.yml": WEB });
  await run();
  const { TrustedMeasurement: _, ...platform } = SNP_VALUES;
  const product = { FamilyID: "fa".repeat(16), ImageID: "1a".repeat(16), MinimumGuestSVN: 6 };
  const signed = { ...platform, IdKeyDigest: "1d".repeat(48), ...product };
  await editManifest((file) => (file.ReferenceValues.snp = [signed]));
  expect((await run()).fillIn).toEqual([]);
  expect((await manifest()).ReferenceValues.snp).toEqual([signed]);
});

test.for(["aks-clh-snp", "k3s-qemu-snp", "k3s-qemu-tdx", "metal-qemu-tdx"] as const)(
  "writes a manifest for %s that is valid but for what has to be filled in",
  async (platform) => {
    const { run, manifest } = await workspace({ "web.yml": WEB });
    const { fillIn } = await run({ referenceValues: [platform] });
    expect(fillIn.length).toBeGreaterThan(0);
    expect(Object.keys((await manifest()).ReferenceValues)).toEqual([platform.endsWith("snp") ? "snp" : "tdx"]);
  },
);

test("writes what may be asked of SNP machines, and warns until they are named", async () => {
  const { run, manifest, editManifest, talk, dir } = await workspace({ "web.yml": WEB });
  const warnings = async (): Promise<string[]> => {
    const before = talk.length;
    await run();
    return talk.slice(before).filter((line) => line.includes("can impersonate a VM"));
  };
  const warning = (place: string, machines: string): string =>
    `warning: ${join(dir, "manifest.json")}: $.ReferenceValues.snp${place}: ${machines} is trusted: ` +
    "anybody with physical access to one can impersonate a VM";
  expect(await warnings()).toEqual([warning("[0].AllowedChipIDs", "any machine with SEV-SNP")]);
  expect((await manifest()).ReferenceValues.snp).toMatchObject([{ SigningKey: "VCEK", AllowedChipIDs: [] }]);
  const pinned = { ...SNP_VALUES, AllowedChipIDs: ["22".repeat(64)] };
  const vlek = { ...SNP_VALUES, SigningKey: "VLEK", CSPID: "cloud.example" };
  await editManifest((file) => (file.ReferenceValues.snp = [pinned, SNP_VALUES, vlek]));
  expect(await warnings()).toEqual([
    warning("[1].AllowedChipIDs", "any Milan"),
    warning("[2].SigningKey", "any machine of cloud.example"),
  ]);
  await editManifest((file) => (file.ReferenceValues.snp = [pinned]));
  expect(await warnings()).toEqual([]);
});

test("writes what may be asked of TDX machines, at values that ask for nothing but SEPT_VE_DISABLE", async () => {
  const { run, manifest, editManifest, talk } = await workspace({ "web.yml": WEB });
  await run({ referenceValues: ["metal-qemu-tdx"] });
  expect(talk.filter((line) => line.includes("AllowedPIIDs: any machine with TDX is trusted"))).toHaveLength(1);
  const [set] = (await manifest()).ReferenceValues.tdx;
  expect(set).toMatchObject({
    TdAttributes: "0000001000000000",
    MinimumTCBEvaluationDataNumber: 0,
    AllowedPIIDs: [],
    MemoryIntegrity: false,
    SMTDisabled: false,
    StaticPlatform: false,
  });
  const [digest, AllowedPIIDs] = ["33".repeat(48), ["22".repeat(16)]];
  const measured = { MrTd: digest, MrSeam: digest, Rtmrs: Array(4).fill(digest), Xfam: "e742060000000000" };
  const filled = { ...set, ...measured, MinimumTeeTcbSvn: "02".repeat(16), AllowedPIIDs };
  await editManifest((file) => (file.ReferenceValues.tdx = [filled]));
  const before = talk.length;
  expect((await run({ referenceValues: ["metal-qemu-tdx"] })).fillIn).toEqual([]);
  expect(talk.slice(before).filter((line) => line.includes("can impersonate a VM"))).toEqual([]);
});

test("a software TEE is nobody's machine", async () => {
  const { run, talk } = await workspace({ "web.yml": WEB });
  await run({ referenceValues: ["simulated"] });
  expect(talk.filter((line) => line.includes("can impersonate a VM"))).toEqual([]);
});

test("refuses to write a manifest with a value that is wrong", async () => {
  const { run, editManifest, read } = await workspace({ "web.yml": WEB });
  const [web] = (await run()).policies;
  await editManifest((value) => (value.Policies[web?.hash ?? ""].SANs = ["a b"]));
  const before = await read("manifest.json");
  await expect(run()).rejects.toMatchObject({ code: "invalid_manifest", got: '"a b"' });
  expect(await read("manifest.json")).toBe(before);
});

test.for([
  ["is not JSON", "{", "malformed_json"],
  ["has a key twice", '{"Policies": {}, "Policies": {}}', "duplicate_key"],
  [
    "has a key that would get lost",
    '{"Policies": {}, "ReferenceValues": {}, "WorkloadOwnerKeyDigests": [], "SeedshareOwnerPubKeys": [], "Comment": ""}',
    "invalid_manifest",
  ],
])("does not touch a manifest that %s", async ([, text = "", code]) => {
  const { run, read, write, dir } = await workspace({ "web.yml": WEB });
  await write("manifest.json", text);
  await expect(run()).rejects.toMatchObject({ code, message: `${join(dir, "manifest.json")} is no manifest` });
  expect(await read("manifest.json")).toBe(text);
  expect(await read("app/web.yml")).toBe(WEB);
});

test("NotBefore is the time of the last change, and never goes back", () => {
  const [earlier, now, later] = ["01", "02", "03"].map((second) => `2026-05-04T00:00:${second}Z`);
  const file = { Policies: {}, ReferenceValues: {}, WorkloadOwnerKeyDigests: ["a"], SeedshareOwnerPubKeys: [] };
  const other = { ...file, WorkloadOwnerKeyDigests: ["b"] };
  const stamp = (before: ManifestFile | undefined): string | undefined =>
    withNotBefore(file, before, new Date("2026-05-04T00:00:02.999Z")).NotBefore;
  expect(stamp(undefined)).toBe(now);
  expect(stamp(file)).toBe(now);
  expect(stamp({ ...file, NotBefore: earlier })).toBe(earlier);
  expect(stamp({ ...file, NotBefore: later })).toBe(later);
  expect(stamp({ ...other, NotBefore: earlier })).toBe(now);
  expect(stamp({ ...other, NotBefore: later })).toBe(later);
});
