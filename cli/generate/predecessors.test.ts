import { expect, test } from "vitest";
import { COORDINATOR, podSpecs, WEB, workspace, type Workspace } from "./test-workspace.ts";

/** Coordinators with peers whose policy changes while they run. */

const PEERED = `${COORDINATOR}          env:
            - name: CONTRAST_STATE_STORE
              value: kubernetes
            - name: CONTRAST_PEERS
              value: coordinator-peers:7777
`;

const coordinatorsIn = ({ Policies }: { Policies: Record<string, { Role?: string }> }): string[] =>
  Object.keys(Policies).filter((hash) => Policies[hash]?.Role === "coordinator");

async function peersOf({ read }: Workspace): Promise<string | undefined> {
  const { env } = podSpecs(await read("app/coordinator.yml")).coordinator.containers[0];
  return env.find(({ name }: { name: string }) => name === "CONTRAST_PEER_POLICIES")?.value;
}

const next = async ({ read, write }: Workspace, image: string): Promise<void> =>
  write(
    "app/coordinator.yml",
    (await read("app/coordinator.yml")).replace(/coordinator:0\.1\.0[^\n]*|other:\d/, image),
  );

/** The hash of the Coordinator's policy. */
async function generated(it: Workspace, options = {}): Promise<string> {
  const { policies } = await it.run(options);
  const own = policies.find(({ name }) => name === "coordinator");
  if (own === undefined) throw new Error("there is no Coordinator");
  return own.hash;
}

test("a new image follows the policy that runs, which the manifest keeps until it is dropped", async () => {
  const it = await workspace({ "web.yml": WEB, "coordinator.yml": PEERED });
  const first = await generated(it);
  await it.write("pinned.json", "{}");
  expect(await generated(it)).toBe(first);
  expect(await peersOf(it)).toBeUndefined();

  const { Policies: before } = await it.manifest();
  before[first].SANs.push("named.by.owner");
  await it.editManifest((manifest) => (manifest.Policies = before));
  await next(it, "other:1");
  const second = await generated(it);
  expect(second).not.toBe(first);
  expect(await peersOf(it)).toBe(first);
  const kept = await it.manifest();
  expect(coordinatorsIn(kept)).toEqual([second, first]);
  expect(kept.Policies[first]).toEqual(before[first]);
  expect(kept.Policies[second].SANs).toContain("named.by.owner");
  expect((await it.run()).changedFiles).toEqual([]);

  expect(await generated(it, { dropPredecessors: true })).toBe(second);
  expect(coordinatorsIn(await it.manifest())).toEqual([second]);
  // The variable is a part of the policy: without it there would be another policy, and another upgrade.
  expect(await peersOf(it)).toBe(first);
  expect(await generated(it)).toBe(second);
  expect(coordinatorsIn(await it.manifest())).toEqual([second]);

  await next(it, "other:2");
  const third = await generated(it);
  expect(await peersOf(it)).toBe(second);
  expect(coordinatorsIn(await it.manifest())).toEqual([third, second]);
});

test("what was generated and never ran, is followed too: nobody knows which of them runs", async () => {
  const it = await workspace({ "coordinator.yml": PEERED });
  const first = await generated(it);
  await it.write("pinned.json", "{}");
  await next(it, "other:1");
  const second = await generated(it);
  await next(it, "other:2");
  const third = await generated(it);
  expect(await peersOf(it)).toBe(`${first},${second}`);
  expect(coordinatorsIn(await it.manifest())).toEqual([third, second, first]);
});

test("files that are made anew each time get the same policy each time", async () => {
  const it = await workspace({ "coordinator.yml": PEERED });
  const first = await generated(it);
  await it.write("pinned.json", "{}");
  for (const [image, known] of [
    ["other:1", [first]],
    ["other:2", undefined],
  ] as const) {
    const text = PEERED.replace("contrast/coordinator:0.1.0", image);
    await it.write("app/coordinator.yml", text);
    const made = await generated(it);
    const manifest = await it.manifest();
    if (known !== undefined) expect(coordinatorsIn(manifest)).toEqual([made, ...known]);
    expect(coordinatorsIn(manifest).at(-1)).toBe(first);
    await it.write("app/coordinator.yml", text);
    expect(await generated(it)).toBe(made);
    expect(await it.manifest()).toEqual(manifest);
  }
});

test("what a user wrote of measurements stays", async () => {
  const own = `own@${"ab".repeat(48)}`;
  const it = await workspace({ "coordinator.yml": PEERED });
  const first = await generated(it);
  await it.write("pinned.json", "{}");
  const text = await it.read("app/coordinator.yml");
  const variable = `- name: CONTRAST_PEER_POLICIES\n              value: ${own},${"0".repeat(64)}\n            `;
  await it.write("app/coordinator.yml", text.replace("- name: CONTRAST_PEERS", `${variable}$&`));
  await generated(it);
  expect(await peersOf(it)).toBe(`${own},${first}`);
});

test("before a manifest is set, and for a Coordinator without peers, there is nobody to follow", async () => {
  for (const [text, pin] of [
    [PEERED, false],
    [COORDINATOR, true],
  ] as const) {
    const it = await workspace({ "coordinator.yml": text });
    await generated(it);
    if (pin) await it.write("pinned.json", "{}");
    await next(it, "other:1");
    const second = await generated(it);
    expect(coordinatorsIn(await it.manifest())).toEqual([second]);
    if (!pin) expect(await peersOf(it)).toBeUndefined();
  }
});

test("a Coordinator does not follow another one of the same files", async () => {
  const other = PEERED.replaceAll("name: coordinator\n", "name: other\n").replace(
    "name: other\n          image",
    "name: coordinator\n          image",
  );
  const it = await workspace({ "coordinator.yml": PEERED, "other.yml": other });
  await it.run();
  await it.write("pinned.json", "{}");
  const both = coordinatorsIn(await it.manifest());
  await next(it, "other:1");
  const second = await generated(it);
  expect(both).toContain(await peersOf(it));
  expect(coordinatorsIn(await it.manifest())).toHaveLength(3);
  expect(coordinatorsIn(await it.manifest())).toEqual(expect.arrayContaining([second, ...both]));
});

test("what the software TEE adds does not move the variable from one run to the next", async () => {
  const it = await workspace({ "web.yml": WEB, "coordinator.yml": PEERED });
  const simulated = { referenceValues: ["simulated"] };
  await generated(it, simulated);
  await it.write("pinned.json", "{}");
  await next(it, "other:1");
  const second = await generated(it, simulated);
  expect(await generated(it, simulated)).toBe(second);
  expect(await generated(it, { ...simulated, dropPredecessors: true })).toBe(second);
});
