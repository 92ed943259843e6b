import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { encodeAnnex } from "../manifest/annex.ts";
import { decodeRecord, encodeRecord } from "../store/record.ts";
import { type Account, makeAccount, programOptions, writeKubeconfig } from "./kubernetes-api/accounts.ts";
import { BIN, type KubernetesApi, NO_KUBERNETES_API, startKubernetesApi } from "./kubernetes-api/server.ts";
import type { Program } from "./programs.ts";
import {
  call,
  type Client,
  createDeployment,
  type Deployment,
  readHistory,
  type SeedShare,
} from "./state-deployment.ts";

/** `contrast backup` and `contrast restore`: the commands as they are, between folders, files and the Kubernetes API. */

let directory: string;
let deployment: Deployment;
const running: Program[] = [];
const clients: Client[] = [];
let places = 0;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "backup-test-"));
  deployment = await createDeployment(directory, "127.41.6.2");
});

afterEach(stopAll);

afterAll(() => rmSync(directory, { recursive: true }));

async function stopAll(): Promise<void> {
  for (const client of clients.splice(0)) client.close();
  for (const program of running.splice(0)) {
    program.child.kill("SIGKILL");
    await program.exited;
  }
}

const newPlace = (): string => join(directory, `place-${++places}`);
const at = (state: string): string[] => ["--state-dir", state];

async function owner(): Promise<Client> {
  const client = await deployment.workloadOwner();
  clients.push(client);
  return client;
}

async function start(state: string, account?: { api: KubernetesApi; account: Account }): Promise<string> {
  const program = deployment.start(state, account && programOptions(account.api, account.account));
  running.push(program);
  return String((await program.line("ready"))["state"]);
}

async function set(name: string): Promise<SeedShare> {
  const client = await owner();
  return deployment.openSeedShare(
    await call(client, UserAPI.method.setManifest, await deployment.allowed(client, name)),
  );
}

async function recover(share: SeedShare): Promise<string[]> {
  const client = await deployment.seedshareOwner();
  clients.push(client);
  await call(client, UserAPI.method.recover, share);
  return readHistory(await owner());
}

const manifests = (...names: string[]): string[] => names.map((name) => deployment.manifest(name).manifest.toString());

/** A folder with these sets. */
async function madeState(...names: string[]): Promise<{ state: string; share: SeedShare }> {
  const state = newPlace();
  await start(state);
  let share: SeedShare | undefined;
  for (const name of names) share ??= await set(name);
  for (const name of names.slice(1)) await set(name);
  await stopAll();
  if (share === undefined) throw new Error("nothing was set");
  return { state, share };
}

async function contrast(args: readonly string[], environment: Record<string, string> = {}) {
  const env = { PATH: process.env["PATH"] ?? "", ...environment };
  const child = spawn(process.execPath, ["cli/main.ts", "--output", "json", ...args], { env });
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.on("close", resolve)),
  ]);
  return { code, stderr, result: (stdout === "" ? {} : JSON.parse(stdout)) as Record<string, unknown> };
}

async function backedUp(state: string): Promise<string> {
  const file = newPlace();
  expect(await contrast(["backup", ...at(state), "-o", file])).toMatchObject({ code: 0 });
  return file;
}

test("a history that was backed up, lost and restored is recovered", async () => {
  const { state, share } = await madeState("first", "second");
  const file = newPlace();
  const backup = await contrast(["backup", ...at(state), "-o", file]);
  expect(backup).toMatchObject({ code: 0, result: { result: "history backed up", generation: 2, sequence: 2 } });
  rmSync(state, { recursive: true });
  const restored = await contrast(["restore", file, ...at(state)]);
  expect(restored).toMatchObject({ code: 0, result: { result: "history restored", generation: 2 } });
  expect(await start(state)).toBe("recovery");
  expect(await recover(share)).toEqual(manifests("first", "second"));
});

test("a backup has annexes and sealed secrets, and what it lacks of them is named", { timeout: 90_000 }, async () => {
  const state = newPlace();
  await start(state);
  const share = await set("first");
  const readers = ["workload:web"];
  const owning = await owner();
  const volumes = new Map([["web", new Map([["data", { allowed: 1, used: 0 }]])]]);
  for (const version of [1, 2]) {
    const request = { name: "db", version, readers, value: Buffer.from(`value ${version}`) };
    const { sealedDigest } = await call(owning, UserAPI.method.sealSecret, request);
    const versions = [{ version, readers, sealed: Buffer.from(sealedDigest).toString("hex") }];
    const annex = encodeAnnex({ secrets: new Map([["db", { latestVersion: version, versions }]]), volumes });
    await call(owning, UserAPI.method.amend, await deployment.amendment(owning, annex));
  }
  await set("second");
  await stopAll();
  const file = newPlace();
  const backup = await contrast(["backup", ...at(state), "-o", file]);
  expect(backup).toMatchObject({ code: 0, result: { generation: 2, sequence: 4 } });
  const kept = readdirSync(join(state, "secrets"));
  rmSync(state, { recursive: true });
  expect(await contrast(["restore", file, ...at(state)])).toMatchObject({ code: 0, result: { generation: 2 } });
  expect(readdirSync(join(state, "annexes"))).toHaveLength(2);
  // What the annex in force names, and nothing else.
  const [sealed = ""] = readdirSync(join(state, "secrets"));
  expect(readdirSync(join(state, "secrets"))).toHaveLength(1);
  expect(kept).toContain(sealed);
  expect(await start(state)).toBe("recovery");
  expect(await recover(share)).toEqual(manifests("first", "second"));
  await stopAll();

  for (const [kind, name] of [
    ["secrets", sealed],
    ["annexes", readdirSync(join(state, "annexes"))[0] ?? ""],
  ] as const) {
    const path = join(state, kind, name);
    const bytes = readFileSync(path);
    rmSync(path);
    const refused = await contrast(["backup", ...at(state), "-o", newPlace()]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining(`${kind}/${name}`) as string });
    writeFileSync(path, bytes);
  }
});

test(
  "a backup continues an older history; over a newer one, or another, it takes a flag",
  { timeout: 90_000 },
  async () => {
    const { state, share } = await madeState("first");
    const old = await backedUp(state);
    await start(state);
    await recover(share);
    await set("second");
    await stopAll();
    const late = await backedUp(state);

    const refused = await contrast(["restore", old, ...at(state)]);
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("backup_outdated") as string });
    expect((await contrast(["restore", late, ...at(state)])).result["result"]).toContain("was there");

    const other = await madeState("other");
    const strange = await contrast(["restore", late, ...at(other.state)]);
    expect(strange).toMatchObject({ code: 3, stderr: expect.stringContaining("another_deployment") as string });

    expect(await contrast(["restore", old, ...at(state), "--replace"])).toMatchObject({ code: 0 });
    expect(await contrast(["restore", late, ...at(state)])).toMatchObject({ code: 0 });
    expect(await contrast(["restore", late, ...at(other.state), "--replace"])).toMatchObject({ code: 0 });
    expect(readFileSync(join(other.state, "latest"))).toEqual(readFileSync(join(state, "latest")));
  },
);

test("a backup mends records that are damaged or gone", { timeout: 90_000 }, async () => {
  const { state, share } = await madeState("first", "second");
  const file = await backedUp(state);
  for (const [index, name] of readdirSync(join(state, "manifests")).entries()) {
    if (index === 0) rmSync(join(state, "manifests", name));
    else writeFileSync(join(state, "manifests", name), "damage");
  }
  expect(await contrast(["restore", file, ...at(state)])).toMatchObject({ code: 0 });
  await start(state);
  expect(await recover(share)).toHaveLength(2);
});

test(
  "what is no whole backup, or not what it was, is refused, and nothing is written",
  { timeout: 90_000 },
  async () => {
    const { state } = await madeState("first", "second");
    const whole = readFileSync(await backedUp(state));
    const damaged = newPlace();
    const target = newPlace();
    const flip = (at: number): Buffer => {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      return bytes;
    };
    const cases: (readonly [Buffer, RegExp])[] = [
      [Buffer.alloc(0), /malformed_file/],
      [Buffer.from("PK\u0003\u0004"), /malformed_file/],
      [whole.subarray(0, whole.length - 1), /malformed_file/],
      [whole.subarray(0, whole.length >> 1), /malformed_file/],
      [Buffer.concat([whole, Buffer.of(10)]), /malformed_file/],
      [
        Buffer.from(
          whole.toString("latin1").replace(/^contrast backup 1\n\w+/, "contrast backup 1\nunknown"),
          "latin1",
        ),
        /malformed_file/,
      ],
      [flip(whole.length - 1), /damaged_state/],
      [flip(whole.length >> 1), /damaged_state|malformed_file/],
    ];
    for (const [bytes, refusal] of cases) {
      writeFileSync(damaged, bytes);
      const { code, stderr } = await contrast(["restore", damaged, ...at(target)]);
      expect([code, stderr]).toEqual([expect.any(Number), expect.stringMatching(refusal)]);
      expect(code).not.toBe(0);
    }
    expect(() => readdirSync(target)).toThrow("ENOENT");
    expect(await contrast(["restore", join(directory, "none"), ...at(target)])).toMatchObject({ code: 2 });
  },
);

test("a history that lacks an owner's leave is neither backed up nor restored", async () => {
  const { state } = await madeState("first", "second");
  // A change of one letter in the second manifest, with every digest made to fit, as whoever has the folder can.
  const replace = (kind: "manifests" | "transitions", bytes: Buffer): string => {
    writeFileSync(join(state, kind, sha256Hex(bytes)), encodeRecord(kind, bytes));
    return sha256Hex(bytes);
  };
  const latest = decodeRecord("latest", readFileSync(join(state, "latest")), "latest");
  const transition = latest.toString("hex", 9, 41);
  const record = decodeRecord("transitions", readFileSync(join(state, "transitions", transition)), "t");
  const manifest = record.toString("hex", 1, 33);
  const evil = Buffer.from(
    decodeRecord("manifests", readFileSync(join(state, "manifests", manifest)), "m")
      .toString()
      .replace('"second"', '"evil"'),
  );
  const forged = Buffer.concat([
    record.subarray(0, 1),
    Buffer.from(replace("manifests", evil), "hex"),
    record.subarray(33),
  ]);
  const pointer = Buffer.from(latest);
  Buffer.from(replace("transitions", forged), "hex").copy(pointer, 9);
  writeFileSync(join(state, "pointers", sha256Hex(pointer)), encodeRecord("pointers", pointer));
  writeFileSync(join(state, "latest"), encodeRecord("latest", pointer));
  const { code, stderr } = await contrast(["backup", ...at(state), "-o", newPlace()]);
  expect([code, stderr]).toEqual([3, expect.stringContaining("unauthorized_history")]);
});

test(
  "options that name no place, a folder that is not there, and one that a Coordinator writes are refused",
  { timeout: 90_000 },
  async () => {
    const file = newPlace();
    for (const [args, refusal, exit] of [
      [["backup", "-o", file], /usage: .*--state-dir or --namespace/, 2],
      [["backup", "-o", file, "--state-dir", "a", "--namespace", "b"], /usage/, 2],
      [["backup", "-o", file, "--namespace", "../kube-system"], /usage: .*--namespace/, 2],
      [["backup", "-o", file, "--namespace", "a", "--state-name", "A"], /usage: .*--state-name/, 2],
      [["backup", "-o", file, "--state-dir", join(directory, "nowhere")], /unreadable_file/, 2],
    ] as const) {
      const { code, stderr } = await contrast(args);
      expect([code, stderr]).toEqual([exit, expect.stringMatching(refusal)]);
    }
    const noKubectl = await contrast(["backup", "-o", file, "--namespace", "a"], { PATH: "/nowhere" });
    expect([noKubectl.code, noKubectl.stderr]).toEqual([1, expect.stringContaining("kubectl_failed")]);
    const { state, share } = await madeState("first");
    await start(state);
    await recover(share);
    expect(await contrast(["backup", "-o", file, "--state-dir", state])).toMatchObject({ code: 0 });
    const locked = await contrast(["restore", file, "--state-dir", state]);
    expect([locked.code, locked.stderr]).toEqual([1, expect.stringContaining("state_locked")]);
    await stopAll();
    const unset = newPlace();
    await start(unset);
    await stopAll();
    const empty = await contrast(["backup", "-o", file, "--state-dir", unset]);
    expect([empty.code, empty.stderr]).toEqual([5, expect.stringContaining("no_manifest")]);
  },
);

const missing = NO_KUBERNETES_API ?? (process.getuid?.() === 0 ? undefined : "mounting a service account takes root");

if (missing !== undefined) test.skip(`backup and restore on the API of Kubernetes: ${missing}`);

describe.runIf(missing === undefined)("on the API of Kubernetes", () => {
  let api: KubernetesApi;
  let kubectl: Record<string, string>;

  beforeAll(async () => {
    mkdirSync(join(directory, "api"));
    api = await startKubernetesApi({ folder: join(directory, "api"), address: "127.41.6.1" });
    kubectl = { KUBECONFIG: writeKubeconfig(api), PATH: `${BIN}:${process.env["PATH"]}` };
  }, 180_000);

  afterAll(() => api?.close());

  test(
    "a history moves from a folder to the Kubernetes API, goes on there, and moves back",
    { timeout: 90_000 },
    async () => {
      const { state, share } = await madeState("first");
      const folder = await backedUp(state);
      const account = await makeAccount(api, "moved");
      const restored = await contrast(["restore", folder, "--namespace", "moved"], kubectl);
      expect(restored).toMatchObject({ code: 0, result: { result: "history restored" } });
      const run = newPlace();
      expect(await start(run, { api, account })).toBe("recovery");
      await recover(share);
      await set("second");

      // While the Coordinator runs.
      const file = newPlace();
      const saved = await contrast(["backup", "--namespace", "moved", "--context", "test", "-o", file], kubectl);
      expect(saved).toMatchObject({ code: 0, result: { generation: 2 } });
      const outdated = await contrast(["restore", folder, "--namespace", "moved"], kubectl);
      expect([outdated.code, outdated.stderr]).toEqual([3, expect.stringContaining("backup_outdated")]);
      await stopAll();

      expect(await contrast(["restore", file, ...at(state)])).toMatchObject({ code: 0 });
      await start(state);
      expect(await recover(share)).toEqual(manifests("first", "second"));
    },
  );

  test("a context that is not there is told of", async () => {
    const { code, stderr } = await contrast(
      ["backup", "--namespace", "moved", "--context", "other", "-o", newPlace()],
      kubectl,
    );
    expect([code, stderr]).toEqual([1, expect.stringMatching(/kubectl_failed: .*context/)]);
  });
});
