import { join } from "node:path";
import { expect, test } from "vitest";
import type { Measurements, SnpMeasurements } from "../workspace/measurements-file.ts";
import { COORDINATOR, SNP_VALUES, workspace } from "./test-workspace.ts";

const digest = (byte: string): string => byte.repeat(48);

const SNP: SnpMeasurements = {
  tee: "snp",
  inputs: { firmware: "f1".repeat(32), kernel: "f2".repeat(32), commandLine: "panic=1" },
  vcpuSignature: "0x800f12",
  guestFeatures: "0x1",
  sizing: { shims: ["go", "runtime-rs"], defaultVcpus: 1, overheadVcpus: 0.4 },
  measurements: [1, 2, 3, 4].map((vcpus) => ({ vcpus, measurement: digest(`a${vcpus}`) })),
};
const TDX: Measurements = {
  tee: "tdx",
  inputs: SNP.inputs,
  mrTd: digest("d0"),
  rtmrs: { 1: digest("d1"), 2: digest("d2"), 3: digest("00") },
  rtmr0: { known: [], unknown: ["the ACPI tables"] },
};

const WEB = (cpu: string): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      runtimeClassName: contrast-cc
      containers:
      - {name: web, image: "web:1", resources: {limits: {cpu: "${cpu}", memory: 1Gi}}}
`;

async function prepared(files: Readonly<Record<string, string>>, measurements: Measurements = SNP) {
  const given = await workspace(files);
  await given.write("measurements.json", JSON.stringify(measurements));
  const paths = [join(given.dir, "measurements.json")];
  return { ...given, generate: (options = {}) => given.run({ measurementsPaths: paths, ...options }) };
}

test("several numbers of vCPUs give several sets, which differ in nothing else", async () => {
  const { generate, manifest, editManifest, read } = await prepared({
    "web.yml": WEB("2"),
    "coordinator.yml": COORDINATOR,
  });
  const first = await generate();
  const [set, ...more] = (await manifest()).ReferenceValues.snp;
  expect(set.TrustedMeasurement).toBe(digest("a1"));
  expect(more).toEqual([{ ...set, TrustedMeasurement: digest("a3") }]);
  // Those of the machine are still open, and nothing else is.
  expect(first.fillIn.map(({ where }) => where).filter((where) => where.includes("Measurement"))).toEqual([]);

  await editManifest((value) => {
    value.ReferenceValues.snp = [
      { ...SNP_VALUES, AllowedChipIDs: ["11".repeat(64)] },
      { ...SNP_VALUES, ProductName: "Genoa" },
    ];
  });
  await generate();
  const sets = (await manifest()).ReferenceValues.snp;
  expect(sets.map((each: typeof SNP_VALUES) => [each.ProductName, each.TrustedMeasurement])).toEqual([
    ["Milan", digest("a1")],
    ["Milan", digest("a3")],
    ["Genoa", digest("a1")],
    ["Genoa", digest("a3")],
  ]);
  expect(sets[1].AllowedChipIDs).toEqual(["11".repeat(64)]);
  const text = await read("manifest.json");
  expect((await generate()).changedFiles).toEqual([]);
  expect(await read("manifest.json")).toBe(text);
});

test("the runtimes of Kata may give a pod different numbers", async () => {
  const { generate, manifest } = await prepared({ "web.yml": WEB("1500m") });
  await generate();
  const sets: { TrustedMeasurement: string }[] = (await manifest()).ReferenceValues.snp;
  expect(sets.map(({ TrustedMeasurement }) => TrustedMeasurement)).toEqual([digest("a2"), digest("a3")]);
});

test("a pod whose number of vCPUs is not measured is an error, with its place and what to run", async () => {
  const { generate, read } = await prepared({ "web.yml": WEB("7"), "coordinator.yml": COORDINATOR });
  const before = await read("app/web.yml");
  await expect(generate()).rejects.toMatchObject({
    code: "no_measurement",
    faults: [
      {
        where: expect.stringMatching(/web\.yml:9:7, spec\.template\.spec\.containers$/) as string,
        got: "8 vCPUs (go)",
        want: expect.stringContaining("run `contrast measure snp` again, with --pods, or --vcpus 8") as string,
      },
      { got: "8 vCPUs (runtime-rs)" },
    ],
  });
  expect(await read("app/web.yml")).toBe(before);
  await expect(read("manifest.json")).rejects.toThrow("ENOENT");
});

test("sets of a signer stay: they accept what the signer measured", async () => {
  const { generate, editManifest, manifest } = await prepared({ "web.yml": WEB("1") });
  await generate();
  const signer = {
    ProductName: "Milan",
    IdKeyDigest: digest("1d"),
    FamilyID: "01".repeat(16),
    ImageID: "02".repeat(16),
    MinimumGuestSVN: 1,
    MinimumTCB: SNP_VALUES.MinimumTCB,
  };
  await editManifest((value) => (value.ReferenceValues.snp = [signer]));
  await generate();
  expect((await manifest()).ReferenceValues.snp).toEqual([signer]);
});

test("of TDX all but RTMR0 is filled in, which stays as it is", async () => {
  const { generate, manifest, editManifest } = await prepared({ "web.yml": WEB("1") }, TDX);
  const { fillIn } = await generate({ referenceValues: ["metal-qemu-tdx"] });
  const [set] = (await manifest()).ReferenceValues.tdx;
  expect([set.MrTd, set.Rtmrs]).toEqual([digest("d0"), ["", digest("d1"), digest("d2"), digest("00")]]);
  expect(fillIn.map(({ where }) => where)).toContain("$.ReferenceValues.tdx[0].Rtmrs[0]");
  await editManifest((value) => (value.ReferenceValues.tdx[0].Rtmrs[0] = digest("ee")));
  await generate({ referenceValues: ["metal-qemu-tdx"] });
  expect((await manifest()).ReferenceValues.tdx[0].Rtmrs[0]).toBe(digest("ee"));
});

test("RTMR0 of the log of a guest is filled in, too", async () => {
  const logged = { ...TDX, rtmrs: { ...TDX.rtmrs, 0: digest("cc") } } as Measurements;
  const { generate, manifest } = await prepared({ "web.yml": WEB("1") }, logged);
  await generate({ referenceValues: ["metal-qemu-tdx"] });
  expect((await manifest()).ReferenceValues.tdx[0].Rtmrs[0]).toBe(digest("cc"));
});

test("measurements that say nothing about these pods are refused", async () => {
  const files = { "web.yml": WEB("1") };
  const unusable = { code: "unusable_measurements" };
  const snp = await prepared(files);
  await expect(snp.generate({ referenceValues: ["metal-qemu-tdx"] })).rejects.toMatchObject(unusable);
  await expect(snp.generate({ referenceValues: ["aks-clh-snp"] })).rejects.toMatchObject(unusable);
  await expect(snp.generate({ referenceValues: ["simulated"] })).rejects.toMatchObject(unusable);
  const twice = [join(snp.dir, "measurements.json"), join(snp.dir, "measurements.json")];
  await expect(snp.generate({ measurementsPaths: twice })).rejects.toMatchObject(unusable);
  // The host could start any kernel with this firmware.
  const { firmware } = SNP.inputs;
  const alone = await prepared(files, { ...SNP, inputs: { firmware } });
  await expect(alone.generate()).rejects.toMatchObject({ ...unusable, got: "measurements of a firmware alone" });
  const missing = [join(snp.dir, "nothing.json")];
  await expect(snp.generate({ measurementsPaths: missing })).rejects.toMatchObject({ code: "unreadable_file" });
});
