import { expect, test } from "vitest";
import { regoOf } from "../../manifest/initdata.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { podSpecs, workspace } from "./test-workspace.ts";
import { runtimeClassName } from "./platforms.ts";
import type { Platform } from "./platform-names.ts";

/** Which platform a pod runs on, where its runtime class says so, and where several are given. */

function pod(name: string, runtimeClass: string): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}}
spec:
  template:
    spec:
      runtimeClassName: ${runtimeClass}
      containers: [{name: ${name}, image: "${name}:1", command: [run]}]
`;
}

const [SNP, TDX] = ["metal-qemu-snp", "metal-qemu-tdx"] as const;
const MIXED = `${pod("a", `contrast-cc-${SNP}`)}---\n${pod("b", `contrast-cc-${TDX}`)}`;

test("each pod runs on the platform that its runtime class names", async () => {
  const { run, read, manifest } = await workspace({ "app.yml": MIXED });
  const { runtimeClassNames } = await run({ referenceValues: [SNP, TDX] });
  expect(runtimeClassNames).toEqual([runtimeClassName(SNP), runtimeClassName(TDX)]);
  const specs = podSpecs(await read("app/app.yml"));
  expect([specs.a.runtimeClassName, specs.b.runtimeClassName]).toEqual(runtimeClassNames);
  const { ReferenceValues } = await manifest();
  expect([ReferenceValues.snp.length, ReferenceValues.tdx.length]).toEqual([1, 1]);
  expect((await run({ referenceValues: [TDX, SNP] })).changedFiles).toEqual([]);
});

test("platforms with the same reference values share a set, others have their own", async () => {
  const text = `${pod("a", "contrast-cc-k3s-qemu-snp")}---\n${pod("b", `contrast-cc-${SNP}`)}`;
  const same = await workspace({ "app.yml": text });
  await same.run({ referenceValues: ["k3s-qemu-snp", SNP] });
  expect((await same.manifest()).ReferenceValues.snp).toHaveLength(1);
  const other = await workspace({ "app.yml": text.replace("k3s-qemu-snp", "aks-clh-snp") });
  await other.run({ referenceValues: ["aks-clh-snp", SNP] });
  const sets = (await other.manifest()).ReferenceValues.snp as { GuestPolicy: { ABIMinor: number } }[];
  expect(sets.map(({ GuestPolicy }) => GuestPolicy.ABIMinor)).toEqual([31, 0]);
});

test.for<[string, readonly Platform[], string]>([
  ["contrast-cc", [SNP, TDX], `contrast-cc-${SNP} or contrast-cc-${TDX}`],
  [`contrast-cc-${TDX}`, [SNP], `contrast-cc-${SNP}, or --reference-values ${TDX} beside the others`],
  ["contrast-cc-metal-qemu-sev", [SNP], `contrast-cc or contrast-cc-${SNP}`],
  [
    `contrast-cc-simulated-00000000`,
    [SNP, TDX],
    `contrast-cc-${SNP} or contrast-cc-${TDX}, or --reference-values simulated beside the others`,
  ],
])("%s is refused with %s", async ([runtimeClass, referenceValues, want]) => {
  const { run, dir, read } = await workspace({ "app.yml": pod("a", runtimeClass) });
  await expect(run({ referenceValues })).rejects.toMatchObject({
    code: "other_platform",
    faults: [{ where: `${dir}/app/app.yml:7:25`, got: runtimeClass, want }],
  });
  expect(await read("app/app.yml")).toBe(pod("a", runtimeClass));
});

test("what an earlier run has written moves to the one platform of this run", async () => {
  const { run, read } = await workspace({ "app.yml": pod("a", "contrast-cc") });
  for (const platform of ["simulated", TDX, SNP] as const) {
    await run({ referenceValues: [platform] });
    expect(podSpecs(await read("app/app.yml")).a.runtimeClassName).toBe(runtimeClassName(platform));
  }
});

test("the policy stands where the platform's shim reads it, and nowhere else", async () => {
  const { run, read, dir, talk } = await workspace({ "app.yml": pod("a", "contrast-cc") });
  const names = async (): Promise<string[]> =>
    [...(await read("app/app.yml")).matchAll(/io\.katacontainers\.config\.(\w+)\.cc_init_data/g)].map(
      ([, name = ""]) => name,
    );
  const hashes: string[] = [];
  for (const [platform, name] of [
    [SNP, "hypervisor"],
    ["aks-clh-snp", "runtime"],
    [SNP, "hypervisor"],
  ] as const) {
    const { policies } = await run({ referenceValues: [platform] });
    expect(await names()).toEqual([name]);
    const [{ hash } = { hash: "" }] = await collectPolicies([`${dir}/app`]);
    expect(hash).toBe(policies[0]?.hash);
    hashes.push(hash);
  }
  expect(new Set(hashes).size).toBe(1);
  expect(talk.filter((line) => line.includes("AKS ended"))).toHaveLength(1);
});

test("values of ConfigMaps in the files are in the policy, those of Secrets only where that is asked for", async () => {
  const env = `[{name: COLOR, valueFrom: {configMapKeyRef: {name: c, key: color}}}, {name: WORD, valueFrom: {secretKeyRef: {name: s, key: word}}}]`;
  const text = pod("a", "contrast-cc").replace("command: [run]", `command: [run], env: ${env}`);
  const more = `---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {color: red}}
---\n{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {word: hush}}\n`;
  const { run, dir, talk } = await workspace({ "app.yml": text + more });
  const variables = async (): Promise<{ env: Record<string, string>; env_from_cluster: object }> => {
    const [policy] = await collectPolicies([`${dir}/app`]);
    const data = regoOf(policy?.document ?? Buffer.of()).split("\npolicy_data := ")[1] ?? "";
    return JSON.parse(data).containers.find(({ name }: { name: string }) => name === "a");
  };
  await run();
  expect(await variables()).toMatchObject({ env: { COLOR: "red" }, env_from_cluster: { WORD: "anything" } });
  expect(talk.filter((line) => line.includes("variables from the cluster"))).toEqual([
    expect.stringContaining("variables from the cluster: WORD (secretKeyRef), want"),
  ]);
  await run({ pinSecrets: true });
  expect(await variables()).toMatchObject({ env: { COLOR: "red", WORD: "hush" }, env_from_cluster: {} });
});
