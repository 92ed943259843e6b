import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { enroll } from "../initializer/enroll.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { generateEcKey } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment, type Ended } from "./cli-deployment.ts";
import { type Program, startProgram } from "./programs.ts";

/** Secrets by name and leaves to format, with the programs as people run them. The tests go on from one another. */

const ADDRESS = "127.42.8.1";
const VALUES = ["first-hunter2-value\n", "second-hunter2-value", "third-hunter2-value"] as const;

let deployment: CliDeployment;
let coordinator: Program;
/** The workload's WorkloadSecretID, and the hash of its policy. */
let id: string;
let policy: string;
const running: Program[] = [];
const everything: string[] = [];

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  expect((await deployment.generate()).code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  await deployment.result("set");
  await deployment.result("verify");
  const { policies } = parseManifest(readFileSync(deployment.file("manifest.json")));
  const [hash, entry] = [...policies].find(([, { role }]) => role === undefined) ?? [];
  [policy, id] = [hash ?? "", entry?.workloadSecretId ?? ""];
}, 60_000);

afterAll(async () => {
  for (const program of running) program.child.kill("SIGKILL");
  await deployment.remove();
});

/** A command in a workspace, with standard input from a file. */
async function run(workspace: string, input: string, ...args: readonly string[]): Promise<Ended> {
  const words = ["cli/main.ts", "--insecure", "--workspace-dir", workspace, ...args, "-c", ADDRESS];
  const program = startProgram(words, {}, ["sh", "-c", `exec "$@" < '${input}'`, "sh"]);
  running.push(program);
  const code = await program.exited;
  const ended = { code, stdout: program.stdout(), stderr: program.text.join("\n") };
  everything.push(ended.stdout, ended.stderr);
  return ended;
}

const cli = (...args: readonly string[]): Promise<Ended> => run(deployment.file("."), "/dev/null", ...args);

async function resultOf(ended: Promise<Ended>, exit = 0): Promise<Readonly<Record<string, unknown>>> {
  const { code, stdout, stderr } = await ended;
  expect(code, stderr).toBe(exit);
  return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
}

const json = (...args: readonly string[]) => resultOf(cli("--output", "json", ...args));

async function refused(code: string, exit: number, ended: Promise<Ended>): Promise<string> {
  const { code: got, stderr } = await ended;
  expect(stderr).toContain(`error: ${code}`);
  expect(got).toBe(exit);
  return stderr;
}

function fileOf(value: string | Buffer): string {
  const path = join(deployment.directory, "value");
  writeFileSync(path, value);
  return path;
}

/** What the workload's Initializer is given. */
async function given(): Promise<string[]> {
  const attester = await openSimulatedAttester(deployment.file("simulated-tee/web"));
  const now = (): Date => new Date();
  const { secrets } = await enroll(`${ADDRESS}:7777`, attester, await generateEcKey("P-256"), now);
  return secrets.map(({ name, version, value }) => `${name}@${version}=${Buffer.from(value).toString()}`);
}

const pinned = (): string => (JSON.parse(deployment.read("pinned.json")) as { Transition: string }).Transition;

test("a secret is set, byte for byte, and only who is named gets it", async () => {
  expect(await json("secret", "list")).toMatchObject({ result: "there are no secrets", secrets: [] });
  const before = pinned();
  const set = await json("secret", "set", "db", "--for", "web", "--from-file", fileOf(VALUES[0]));
  expect(set).toMatchObject({
    result: "secret set",
    version: 1,
    changes: [`secret db: version 1, read by workload:${id}`],
    transition: pinned(),
    written: [deployment.file("pinned.json")],
  });
  expect(pinned()).not.toBe(before);
  await json("secret", "set", "others", "--for", "workload:somebody else", "--from-file", fileOf("x"));
  expect(await given()).toEqual([`db@1=${VALUES[0]}`]);
}, 60_000);

test("another version comes through a pipe, for the same readers, and the one before stays", async () => {
  const set = resultOf(run(deployment.file("."), fileOf(VALUES[1]), "--output", "json", "secret", "set", "db"));
  expect(await set).toMatchObject({ version: 2 });
  expect(await given()).toEqual([`db@2=${VALUES[1]}`, `db@1=${VALUES[0]}`]);
  expect(await json("secret", "list")).toMatchObject({
    result: "2 secrets",
    "latest transition": pinned(),
    secrets: [
      {
        secret: "db",
        "latest version": 2,
        readable: [
          { version: 2, readers: [{ reader: `workload:${id}`, pods: ["Deployment emojivoto/web"] }] },
          { version: 1, readers: [{ reader: `workload:${id}`, pods: ["Deployment emojivoto/web"] }] },
        ],
      },
      { secret: "others", readable: [{ version: 1, readers: [{ reader: "workload:somebody else", pods: [] }] }] },
    ],
  });
}, 60_000);

test("--revoke ends the version before, and a policy is a reader of its own", async () => {
  const set = ["secret", "set", "db", "--revoke", "--for", policy, "--from-file", fileOf(VALUES[2])];
  expect(await json(...set)).toMatchObject({ version: 3 });
  expect(await given()).toEqual([`db@3=${VALUES[2]}`]);
}, 60_000);

test("what is removed is gone for pods, and its number does not come again", async () => {
  const removed = await json("secret", "rm", "others");
  expect(removed).toMatchObject({
    result: "secret removed",
    changes: ["secret others: removed with all versions (before: version 1, read by workload:somebody else)"],
  });
  await refused("usage", 2, cli("secret", "rm", "others"));
  expect(await refused("usage", 2, cli("secret", "rm", "nothing"))).toContain("one of db");
  const { secrets } = await json("secret", "list");
  expect(secrets).toMatchObject([{ secret: "db" }, { secret: "others", removed: true, readable: [] }]);
  const again = ["secret", "set", "others", "--for", "web", "--from-file", fileOf("y")];
  expect(await json(...again)).toMatchObject({ version: 2 });
  expect(await given()).toEqual([`db@3=${VALUES[2]}`, "others@2=y"]);
}, 60_000);

test("a leave to format is one more each time, for one workload", async () => {
  const left = (count: number) => ({ left: count, volume: "data", "workload secret ID": id });
  expect(await json("volume", "allow-format", "data", "--for", "web")).toMatchObject(left(1));
  expect(await json("volume", "allow-format", `${id}/data`)).toMatchObject(left(2));
  expect(await json("volume", "list")).toMatchObject({
    volumes: [{ volume: "data", pods: ["Deployment emojivoto/web"], "formats allowed": 2, "formats used": 0, left: 2 }],
  });
}, 60_000);

test("leaves that nobody used are taken back", async () => {
  await json("volume", "allow-format", "old", "--for", "web");
  expect(await json("volume", "revoke-format", "old", "--for", "web")).toMatchObject({
    result: "leaves taken back",
    changes: [`volume ${id}/old: may be formatted once less (0 of 0 left)`],
  });
  await refused("usage", 2, cli("volume", "revoke-format", "old", "--for", "web"));
  await refused("usage", 2, cli("volume", "revoke-format", "never", "--for", "web"));
  expect(await json("volume", "list")).toMatchObject({
    volumes: [
      { volume: "data", left: 2 },
      { volume: "old", left: 0 },
    ],
  });
}, 60_000);

test("verify tells what there is, and its files have every step", async () => {
  const { code, stdout } = await cli("verify");
  expect(code).toBe(0);
  expect(stdout).toContain("generation: 1\n");
  expect(stdout).toContain(`db: version 3, read by policy:${policy} (Deployment emojivoto/web)`);
  expect(stdout).toContain(`data of ${id}: formatted 0 of 2 times allowed`);
  const facts = await json("verify");
  expect(facts).toMatchObject({ generation: 1, secrets: [{ name: "db", latestVersion: 3 }, { name: "others" }] });
  const { amendments } = facts as { amendments: { signedBy: string[]; transition: string }[] };
  expect(amendments).toHaveLength(10);
  expect(amendments.at(-1)?.transition).toBe(pinned());
  const owner = createHash("sha256")
    .update(
      execFileSync("openssl", ["pkey", "-in", deployment.file("workload-owner.pem"), "-pubout", "-outform", "DER"]),
    )
    .digest("hex");
  for (const { signedBy } of amendments) expect(signedBy).toEqual([owner]);
  const history = JSON.parse(deployment.read("verify/history.json")) as { file: string; sha256: string }[];
  expect(history.map(({ file }) => file)).toEqual([
    "manifest.1.json",
    ...amendments.map((_, index) => `annex.${index + 1}.json`),
  ]);
  for (const { file, sha256 } of history) {
    expect(
      createHash("sha256")
        .update(deployment.read(`verify/${file}`))
        .digest("hex"),
    ).toBe(sha256);
  }
  const report = deployment.read("verify/report.html");
  expect(report).toContain("Amendment 10");
  expect(report).toContain("format_allowed");
}, 60_000);

test("another manifest keeps secrets and leaves, and so does a rekey, which encrypts them anew", async () => {
  const ciphertexts = async () => (await json("verify"))["secrets"] as { versions: { ciphertext: string }[] }[];
  const before = await ciphertexts();
  await deployment.result("set", "--atomic");
  expect(await given()).toEqual([`db@3=${VALUES[2]}`, "others@2=y"]);
  expect(await ciphertexts()).toEqual(before);
  expect((await deployment.result("rekey"))["result"]).toBe("rekeyed");
  expect(await given()).toEqual([`db@3=${VALUES[2]}`, "others@2=y"]);
  const after = await json("verify");
  expect(after).toMatchObject({ generation: 3, volumes: [{ formatsAllowed: 2 }, { formatsAllowed: 0 }] });
  const [old, now] = [before, after["secrets"] as typeof before].map((all) =>
    all.map(({ versions }) => versions[0]?.ciphertext),
  );
  expect(now?.some((digest) => old?.includes(digest))).toBe(false);
  expect(await json("secret", "set", "others", "--from-file", fileOf("z"))).toMatchObject({ version: 3 });
}, 90_000);

test("of several at once each is a version of its own, or is told that another came first", async () => {
  const workspaces = ["one", "two", "three"].map((name) => join(deployment.directory, name));
  for (const folder of workspaces) {
    mkdirSync(folder);
    for (const name of ["manifest.json", "pinned.json", "workload-owner.pem"]) {
      cpSync(deployment.file(name), join(folder, name));
    }
  }
  const path = fileOf("at-once");
  const ended = await Promise.all(
    workspaces.map((folder) => run(folder, path, "--output", "json", "secret", "set", "once", "--for", "web")),
  );
  const done = ended
    .filter(({ code }) => code === 0)
    .map(({ stdout }) => (JSON.parse(stdout) as { version: number }).version);
  expect(done.length).toBeGreaterThan(0);
  expect(done.toSorted((a, b) => a - b)).toEqual(done.map((_, index) => index + 1));
  for (const { stderr } of ended.filter(({ code }) => code !== 0)) {
    expect(stderr).toMatch(/error: conflict: .*run it again/);
  }
  expect((await given()).filter((text) => text.startsWith("once@"))).toHaveLength(Math.min(2, done.length));
  for (const folder of workspaces) expect((await run(folder, "/dev/null", "secret", "list")).code).toBe(0);
  await json("secret", "rm", "once");
}, 60_000);

describe("bad input", () => {
  const set = (...args: readonly string[]) => cli("secret", "set", ...args);
  test.each([
    ["", "usage"],
    ["../x", "usage"],
    ["-x", "error"],
    [".x", "usage"],
    ["a".repeat(64), "usage"],
    ["a/b", "usage"],
    ["a b", "usage"],
    ["\u001b[31mred", "usage"],
    ["workload-secret-seed", "usage"],
    ["workload-secret-seed.1", "usage"],
    ["ü", "usage"],
  ])("the name %j", async (name, code) => {
    const { code: exit, stderr } = await set(name, "--for", "web", "--from-file", fileOf("v"));
    expect(stderr).toContain(code);
    expect(exit).toBe(2);
    expect(stderr).not.toContain("\u001b");
  });

  test.each([
    ["nothing", "", "malformed_file"],
    ["64 KiB and a byte", "a".repeat(65_537), "malformed_file"],
  ])("a value of %s, from a file and from a pipe", async (_, value, code) => {
    await refused(code, 2, set("big", "--for", "web", "--from-file", fileOf(value)));
    await refused(code, 2, run(deployment.file("."), fileOf(value), "secret", "set", "big", "--for", "web"));
  });

  test("64 KiB are a value", async () => {
    expect((await set("big", "--for", "web", "--from-file", fileOf("a".repeat(65_536)))).code).toBe(0);
    expect((await given()).find((text) => text.startsWith("big@"))).toHaveLength("big@1=".length + 65_536);
  }, 30_000);

  test("what is no file", async () => {
    await refused("unreadable_file", 2, set("x", "--for", "web", "--from-file", deployment.directory));
    await refused("unreadable_file", 2, set("x", "--for", "web", "--from-file", join(deployment.directory, "none")));
  });

  test("readers that nobody is, and none at all", async () => {
    const value = ["--from-file", fileOf("v")];
    expect(await refused("usage", 2, set("x", "--for", "wbe", ...value))).toContain('"web"');
    expect(await refused("usage", 2, set("x", "--for", "wb\u001be", ...value))).not.toContain("\u001b");
    await refused("usage", 2, set("x", "--for", "coordinator", ...value));
    await refused("usage", 2, set("x", "--for", "policy:12", ...value));
    await refused("usage", 2, set("x", ...value));
    const many = Array.from({ length: 65 }, (_, index) => ["--for", `workload:${index}`]).flat();
    await refused("invalid_annex", 2, set("x", ...many, ...value));
  }, 30_000);

  test("words that an action does not take", async () => {
    await refused("usage", 2, cli("secret", "list", "db"));
    await refused("usage", 2, cli("secret", "list", "--for", "web"));
    await refused("usage", 2, cli("secret", "rm", "db", "--from-file", "x"));
    await refused("usage", 2, cli("volume", "list", "data"));
    await refused("usage", 2, cli("volume", "allow-format", "data"));
    await refused("usage", 2, cli("volume", "allow-format", "a/data", "--for", "web"));
    await refused("usage", 2, cli("volume", "allow-format", "DATA", "--for", "web"));
    await refused("usage", 2, cli("volume", "allow-format", "data", "--for", policy));
    expect((await cli("secret", "set", "db", "value-on-the-command-line", "--for", "web")).code).toBe(2);
  }, 30_000);

  test("who is no owner gets nothing sealed, and somebody with another manifest sends nothing", async () => {
    const stranger = join(deployment.directory, "stranger");
    mkdirSync(stranger);
    for (const name of ["manifest.json", "pinned.json"]) cpSync(deployment.file(name), join(stranger, name));
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const value = ["--from-file", fileOf("v"), "--for", "web"];
    await refused("malformed_file", 2, run(stranger, "/dev/null", "secret", "set", "x", ...value));
    writeFileSync(join(stranger, "workload-owner.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
    await refused("not_owner", 3, run(stranger, "/dev/null", "secret", "set", "x", ...value));
    await refused("not_owner", 3, run(stranger, "/dev/null", "volume", "allow-format", "data", "--for", "web"));
    expect((await run(stranger, "/dev/null", "secret", "list")).code).toBe(0);
    writeFileSync(join(stranger, "manifest.json"), `${deployment.read("manifest.json")} `);
    cpSync(deployment.file("workload-owner.pem"), join(stranger, "workload-owner.pem"));
    await refused("manifest_mismatch", 3, run(stranger, "/dev/null", "secret", "set", "x", ...value));
  }, 60_000);
});

test("an older state, with older secrets, is refused by who has seen the newer one", async () => {
  await deployment.stop(coordinator);
  const [state, older] = ["state", "older"].map((name) => join(deployment.directory, name));
  cpSync(state ?? "", older ?? "", { recursive: true });
  coordinator = await deployment.startCoordinator("state");
  await deployment.result("recover");
  await json("verify");
  const { version } = await json("secret", "set", "db", "--from-file", fileOf("newest"));
  expect(version).toBe(4);
  await json("verify");
  await deployment.stop(coordinator);
  // The host brings the copy back, and an owner whose pin is as old recovers it.
  const before = pinned();
  const pin = deployment.read("pinned.json");
  coordinator = await deployment.startCoordinator("older");
  await refused("pin_mismatch", 3, cli("recover"));
  const history = JSON.parse(deployment.read("verify/history.json")) as { transition: string }[];
  const earlier = history.at(-2)?.transition ?? "";
  writeFileSync(deployment.file("pinned.json"), pin.replace(before, earlier));
  await deployment.result("recover");
  writeFileSync(deployment.file("pinned.json"), pin);
  const told = await refused("pin_mismatch", 3, cli("verify"));
  expect(told).toContain("the secret db has version 3, after 4");
  await refused("pin_mismatch", 3, cli("secret", "list"));
  await refused("pin_mismatch", 3, cli("secret", "set", "db", "--from-file", fileOf("v")));
}, 90_000);

/** The last one: of all that the programs wrote. */
test("no value is in any output, log or file of a workspace or of the state", () => {
  const texts = [...everything, ...coordinator.log.map((line) => JSON.stringify(line))];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || entry.name === "value") continue;
      texts.push(readFileSync(join(entry.parentPath, entry.name), "latin1"));
    }
  };
  walk(deployment.directory);
  expect(texts.length).toBeGreaterThan(50);
  for (const text of texts) {
    expect(text).not.toContain("hunter2");
    expect(text).not.toContain(Buffer.from(VALUES[1]).toString("base64").slice(0, 16));
  }
});
