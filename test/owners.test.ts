import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { spkiDigest } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment, type Ended } from "./cli-deployment.ts";
import { resultOf } from "./cli-result.ts";
import { type Program, startProgram } from "./programs.ts";

/** Three workload owners of whom two have to sign, with the programs as people run them. The tests go on from one another. */

const ADDRESS = "127.43.0.1";
const NAMES = ["ada", "ben", "eve"] as const;
type Name = (typeof NAMES)[number] | "mallory";

let deployment: CliDeployment;
let coordinator: Program;
const running: Program[] = [];
/** SHA-256 of the owners' keys. */
const digests = new Map<Name, string>();

const folder = (name: Name): string => join(deployment.directory, name);
const fileOf = (name: Name, file: string): string => join(folder(name), file);
const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
const files = (): string => join(deployment.directory, "deployment");

/** A command in the owner's own workspace. */
async function as(name: Name, command: string, ...args: readonly string[]): Promise<Ended> {
  const target = command === "sign" ? [] : ["-c", ADDRESS];
  const paths = command === "set" ? [files()] : [];
  const words = ["cli/main.ts", "--insecure", "--output", "json", "--workspace-dir", folder(name)];
  const program = startProgram([...words, command, ...args, ...target, ...paths]);
  running.push(program);
  const code = await program.exited;
  return { code, stdout: program.stdout(), stderr: program.text.join("\n") };
}

async function refused(code: string, exit: number, ended: Promise<Ended>): Promise<string> {
  const { code: got, stderr } = await ended;
  expect(stderr).toContain(code);
  expect(got).toBe(exit);
  return stderr;
}

const keysOf = (...names: readonly Name[]): string[] => names.map((name) => digests.get(name) ?? "");

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  const owners = NAMES.flatMap((name) => ["-w", newKey(name)]);
  newKey("mallory");
  expect((await deployment.generate()).code).toBe(0);
  // The key that the workspace itself had is no owner's any more.
  deployment.editManifest((manifest) => (manifest["WorkloadOwnerKeyDigests"] = []));
  expect((await deployment.generate(...owners, "--workload-owner-threshold", "2")).code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  await deployment.result("set");
  for (const name of NAMES) {
    takeManifest(name);
    expect((await as(name, "verify")).code).toBe(0);
  }
}, 120_000);

afterAll(async () => {
  for (const program of running) program.child.kill("SIGKILL");
  await deployment.remove();
});

function newKey(name: Name): string {
  mkdirSync(folder(name), { recursive: true });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  digests.set(name, toHex(spkiDigest(publicKey)));
  writeFileSync(fileOf(name, "workload-owner.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
  const path = fileOf(name, "owner.pub.pem");
  writeFileSync(path, publicKey.export({ type: "spki", format: "pem" }));
  return path;
}

/** The owner gets the manifest of the workspace that `generate` works in, as a file. */
function takeManifest(name: Name): void {
  copyFileSync(deployment.file("manifest.json"), fileOf(name, "manifest.json"));
}

/** Another manifest, that is as good as the one before. */
function addName(san: string): void {
  deployment.editManifest((manifest) => {
    for (const policy of Object.values(manifest["Policies"] as Record<string, { SANs: string[] }>))
      policy.SANs.push(san);
  });
}

test("one of two owners leaves a change pending, and is told who is missing", async () => {
  addName("first");
  takeManifest("ada");
  const left = await resultOf(6, as("ada", "set"));
  expect(left).toMatchObject({
    result: expect.stringContaining("not set") as unknown,
    "pending manifest": sha256(fileOf("ada", "manifest.json")),
    "signed by": keysOf("ada"),
    "missing signatures": 1,
    "may still sign": keysOf("ben", "eve"),
  });
  // Again, she is one owner still.
  expect(await resultOf(6, as("ada", "set", "--atomic"))).toMatchObject({ "signed by": keysOf("ada") });
  expect((await deployment.contrast("status")).stdout).toMatch(/state: active\n(?:.*\n)*generation: 1\n/);
}, 60_000);

test("another owner reads what is pending, and signs the file that was read", async () => {
  const listed = await resultOf(0, as("ben", "pending", "list"));
  const digest = sha256(fileOf("ada", "manifest.json"));
  const saved = fileOf("ben", join("pending", digest, "manifest.json"));
  expect(listed["pending"]).toMatchObject([
    { "pending manifest": digest, "signed by": keysOf("ada"), "missing signatures": 1, file: saved, compared: true },
  ]);
  expect(JSON.stringify(listed["pending"])).toContain("first");
  expect(readFileSync(saved)).toEqual(readFileSync(fileOf("ada", "manifest.json")));
  // The manifest in force is not pending, and neither is one that nobody proposed.
  await refused("usage", 2, as("ben", "pending", "sign"));
  const evil = fileOf("ben", "evil.json");
  writeFileSync(evil, readFileSync(saved, "utf8").replace('"first"', '"worst"'));
  await refused("not_pending", 1, as("ben", "pending", "sign", evil));

  const set = await resultOf(0, as("ben", "pending", "sign", saved));
  expect(set).toMatchObject({ result: "manifest set", signed: saved });
  expect(JSON.stringify(set["changes"])).toContain("changed: ");
  takeManifest("eve");
  const verified = await resultOf(0, as("eve", "verify"));
  expect(verified).toMatchObject({ generation: 2, workloadOwnerThreshold: 2 });
  const [first, second] = verified["history"] as { signedBy: string[] }[];
  expect(first?.signedBy).toEqual([]);
  expect(second?.signedBy.toSorted()).toEqual(keysOf("ada", "ben").toSorted());
  const report = readFileSync(fileOf("eve", "verify/report.html"), "utf8");
  for (const key of keysOf("ada", "ben")) expect(report).toContain(key);
}, 90_000);

test("an owner takes back what nobody else needs to know of", async () => {
  addName("second");
  takeManifest("ada");
  await resultOf(6, as("ada", "set"));
  const mine = fileOf("ada", "manifest.json");
  takeManifest("ben");
  await refused("not_pending", 1, as("ben", "pending", "drop"));
  expect(await resultOf(0, as("ada", "pending", "drop", mine))).toMatchObject({
    "signed by": [],
    "missing signatures": 2,
  });
  expect(await resultOf(0, as("ben", "pending", "list"))).toMatchObject({ result: "nothing is pending", pending: [] });
}, 60_000);

test("a second owner who sets the same manifest performs it", async () => {
  await resultOf(6, as("ada", "set"));
  expect(await resultOf(0, as("ben", "set"))).toMatchObject({ result: "manifest set" });
  expect(await resultOf(0, as("ben", "verify"))).toMatchObject({ generation: 3 });
}, 60_000);

/** Eve's key is in a module: here it is openssl's. */
test("signatures that were made elsewhere come one at a time, or together", async () => {
  for (const name of NAMES) {
    takeManifest(name);
    await resultOf(0, as(name, "verify"));
  }
  addName("third");
  for (const name of NAMES) takeManifest(name);
  const signatureOf = async (name: Name): Promise<string[]> => {
    await resultOf(0, as(name, "sign", "--prepare"));
    const path = fileOf(name, "transition.sig");
    const key = fileOf(name, "workload-owner.pem");
    execFileSync("openssl", ["dgst", "-sha256", "-sign", key, "-out", path, fileOf(name, "transition.tbs")]);
    return ["--signature", path, "--workload-owner-key", fileOf(name, "owner.pub.pem")];
  };
  const [ada, eve] = [await signatureOf("ada"), await signatureOf("eve")];
  // Mallory carries them: the connection is nobody's.
  copyFileSync(fileOf("ben", "pinned.json"), fileOf("mallory", "pinned.json"));
  takeManifest("mallory");
  expect(await resultOf(6, as("mallory", "set", ...ada))).toMatchObject({ "signed by": keysOf("ada") });
  expect(await resultOf(6, as("mallory", "pending", "sign", ...ada))).toMatchObject({ "missing signatures": 1 });
  const mixed = ["--signature", ada[1] ?? "", "--signature", eve[1] ?? "", "--workload-owner-key", eve[3] ?? ""];
  await refused("usage", 2, as("mallory", "set", ...mixed));
  await refused("bad_signature", 3, as("mallory", "set", ...mixed, "--workload-owner-key", ada[3] ?? ""));
  expect(await resultOf(0, as("mallory", "pending", "sign", ...eve))).toMatchObject({ result: "manifest set" });

  await resultOf(0, as("ada", "verify"));
  await resultOf(0, as("eve", "verify"));
  addName("fourth");
  for (const name of [...NAMES, "mallory"] as const) takeManifest(name);
  const both = [...(await signatureOf("ada")), ...(await signatureOf("eve"))];
  expect(await resultOf(0, as("mallory", "set", ...both))).toMatchObject({ result: "manifest set" });
}, 120_000);

test("a stranger sees nothing that is pending, and adds nothing to it", async () => {
  for (const name of NAMES) await resultOf(0, as(name, "verify"));
  addName("fifth");
  takeManifest("ada");
  await resultOf(6, as("ada", "set"));
  await refused("not_owner", 3, as("mallory", "pending", "list"));
  copyFileSync(fileOf("ada", "manifest.json"), fileOf("mallory", "next.json"));
  await refused("not_owner", 3, as("mallory", "pending", "sign", fileOf("mallory", "next.json")));
  await refused("not_owner", 3, as("mallory", "pending", "drop", fileOf("mallory", "next.json")));
  expect(existsSync(fileOf("mallory", "pending"))).toBe(false);
}, 60_000);

test("status tells owners what is pending, and strangers what everybody can read", async () => {
  const threshold = { "workload owner threshold": 2, "workload owners": keysOf(...NAMES) };
  const told = await resultOf(0, as("eve", "status"));
  expect(told).toMatchObject({
    state: "active",
    generation: 5,
    proven: expect.stringContaining("nothing") as unknown,
    ...threshold,
    pending: [
      { manifest: sha256(fileOf("ada", "manifest.json")), "signed by": keysOf("ada"), "missing signatures": 1 },
    ],
    peers: [],
    missing: [expect.stringContaining("1 signature below the manifest") as unknown],
  });
  expect(await resultOf(0, as("eve", "status", "-m", fileOf("eve", "manifest.json")))).toMatchObject({
    proven: expect.stringContaining("manifest.json") as unknown,
    "at hand": "the same",
  });
  const stranger = await resultOf(0, as("mallory", "status"));
  expect(stranger).toMatchObject({
    state: "active",
    ...threshold,
    "asked as": expect.stringContaining("no owner") as unknown,
  });
  expect(Object.keys(stranger)).not.toEqual(expect.arrayContaining(["pending"]));
  // What the connection itself was told, whatever is printed of it.
  const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 10_000 });
  const answer = await client.call(UserAPI.method.getStatus, {}, new Date(Date.now() + 20_000));
  client.close();
  expect(answer.forOwners).toBeUndefined();
  expect(answer.inForce?.generation).toBe(5);
}, 60_000);

test("a restart ends what is pending, and status says what a recovery lacks", async () => {
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  const stranger = await resultOf(5, as("mallory", "status"));
  expect(stranger).toMatchObject({
    state: "recovery",
    missing: [expect.stringContaining("contrast recover") as unknown],
  });
  expect(Object.keys(stranger)).not.toEqual(expect.arrayContaining(["workload owners"]));
  expect(await resultOf(5, as("eve", "status"))).toMatchObject({
    state: "recovery",
    "workload owners": keysOf(...NAMES),
    "gave their share": [],
    missing: ["1 seed share: an owner runs `contrast recover`"],
  });
  copyFileSync(fileOf("eve", "manifest.json"), deployment.file("manifest.json"));
  copyFileSync(fileOf("eve", "pinned.json"), deployment.file("pinned.json"));
  await deployment.result("recover");
  expect(await resultOf(0, as("ben", "pending", "list", "-m", fileOf("eve", "manifest.json")))).toMatchObject({
    pending: [],
  });
  await refused(
    "not_pending",
    1,
    as("ben", "pending", "sign", fileOf("ada", "manifest.json"), "-m", fileOf("eve", "manifest.json")),
  );
}, 90_000);
