import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ManifestError } from "../../manifest/error.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { WEB, COORDINATOR, SNP_VALUES, workspace } from "./test-workspace.ts";

test("keeps names, secrets, owners and reference values of the manifest when pods change", async () => {
  const { run, editManifest, manifest, read, write } = await workspace({
    "web.yml": WEB,
    "coordinator.yml": COORDINATOR,
  });
  const [coordinator, web] = (await run()).policies;
  await editManifest((value) => {
    value.Policies[web?.hash ?? ""].SANs = ["web.example.com", "203.0.113.34"];
    value.Policies[web?.hash ?? ""].WorkloadSecretID = "shop";
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
      [policies[1]?.hash ?? ""]: { SANs: ["web.example.com", "203.0.113.34"], WorkloadSecretID: "shop" },
    },
  });
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

test("takes policies out that no pod has, and says so", async () => {
  const { run, dir, manifest, talk } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const [, web] = (await run()).policies;
  await unlink(join(dir, "app/web.yml"));
  await run();
  expect(Object.values((await manifest()).Policies)).toEqual([{ SANs: ["coordinator", "*"], Role: "coordinator" }]);
  expect(talk).toContainEqual(expect.stringContaining(`took out policy ${web?.hash}`));
});

test("lists the values that only the operator knows, until they are filled in", async () => {
  const { run, editManifest, read } = await workspace({ "web.yml": WEB });
  const { fillIn } = await run();
  expect(fillIn).toEqual(
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
  await editManifest((manifest) => Object.assign(manifest.ReferenceValues.snp[0], SNP_VALUES));
  expect((await run()).fillIn).toEqual([]);
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
    const { fillIn } = await run({ referenceValues: platform });
    expect(fillIn.length).toBeGreaterThan(0);
    expect(Object.keys((await manifest()).ReferenceValues)).toEqual([platform.endsWith("snp") ? "snp" : "tdx"]);
  },
);

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
