import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { spkiDigest } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment, type Ended } from "./cli-deployment.ts";
import { resultOf } from "./cli-result.ts";
import { type Program, startProgram } from "./programs.ts";

/** Three workload owners of whom two have to sign each secret, with the programs as people run them. The tests go on from one another. */

const ADDRESS = "127.42.8.2";
const NAMES = ["ada", "ben", "eve"] as const;
type Name = (typeof NAMES)[number] | "mallory";
const VALUE = "hunter2-of-many-owners";

let deployment: CliDeployment;
const running: Program[] = [];
/** SHA-256 of the owners' keys. */
const digests = new Map<Name, string>();
const everything: string[] = [];

const fileOf = (name: Name, file: string): string => join(deployment.directory, name, file);
const keysOf = (...names: readonly Name[]): string[] => names.map((name) => digests.get(name) ?? "");
const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

async function as(name: Name, ...args: readonly string[]): Promise<Ended> {
  const target = args[0] === "sign" ? [] : ["-c", ADDRESS];
  const words = ["cli/main.ts", "--insecure", "--output", "json", "--workspace-dir", fileOf(name, ".")];
  const program = startProgram([...words, ...args, ...target]);
  running.push(program);
  const code = await program.exited;
  const ended = { code, stdout: program.stdout(), stderr: program.text.join("\n") };
  everything.push(ended.stdout, ended.stderr);
  return ended;
}

async function refused(code: string, exit: number, ended: Promise<Ended>): Promise<string> {
  const { code: got, stderr } = await ended;
  expect(stderr).toContain(`error: ${code}`);
  expect(got).toBe(exit);
  return stderr;
}

function newKey(name: Name): string {
  mkdirSync(fileOf(name, "."), { recursive: true });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  digests.set(name, toHex(spkiDigest(publicKey)));
  writeFileSync(fileOf(name, "workload-owner.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
  const path = fileOf(name, "owner.pub.pem");
  writeFileSync(path, publicKey.export({ type: "spki", format: "pem" }));
  return path;
}

const setDb = (name: Name, ...args: readonly string[]) => {
  writeFileSync(join(deployment.directory, "value"), VALUE);
  return as(name, "secret", "set", "db", "--from-file", join(deployment.directory, "value"), ...args);
};

/** `openssl` as the module that has the key, which signs what `--prepare` wrote. */
async function signElsewhere(name: Name, annex: string): Promise<string[]> {
  const [bytes, signature] = [fileOf(name, "transition.tbs"), fileOf(name, "transition.sig")];
  await resultOf(0, as(name, "sign", "--annex", annex, "--prepare"));
  const key = fileOf(name, "workload-owner.pem");
  execFileSync("openssl", ["dgst", "-sha256", "-sign", key, "-out", signature, bytes]);
  return ["--signature", signature, "--workload-owner-key", fileOf(name, "owner.pub.pem")];
}

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  const owners = NAMES.flatMap((name) => ["-w", newKey(name)]);
  newKey("mallory");
  expect((await deployment.generate()).code).toBe(0);
  deployment.editManifest((manifest) => (manifest["WorkloadOwnerKeyDigests"] = []));
  expect((await deployment.generate(...owners, "--workload-owner-threshold", "2")).code).toBe(0);
  await deployment.startCoordinator("state");
  await deployment.result("set");
  for (const name of [...NAMES, "mallory"] as const) {
    copyFileSync(deployment.file("manifest.json"), fileOf(name, "manifest.json"));
    expect((await as(name, "verify")).code).toBe(0);
  }
}, 120_000);

afterAll(async () => {
  for (const program of running) program.child.kill("SIGKILL");
  await deployment.remove();
});

test("one of two owners leaves a secret pending, and nobody reads it yet", async () => {
  const left = await resultOf(6, setDb("ada", "--for", "web"));
  expect(left).toMatchObject({
    result: expect.stringContaining("not in force") as unknown,
    changes: [expect.stringMatching(/^secret db: version 1, read by workload:/) as unknown],
    "signed by": keysOf("ada"),
    "missing signatures": 1,
    "may still sign": keysOf("ben", "eve"),
  });
  expect(await resultOf(0, as("ada", "secret", "list"))).toMatchObject({ secrets: [] });
  const told = await resultOf(0, as("eve", "status"));
  expect(told).toMatchObject({
    generation: 1,
    pending: [{ annex: left["pending annex"], "signed by": keysOf("ada"), "missing signatures": 1 }],
    missing: [
      expect.stringContaining(`1 signature below an amendment, the annex ${String(left["pending annex"])}`) as unknown,
    ],
  });
}, 60_000);

test("another sees name, version and readers, signs the file, and it is in force", async () => {
  const listed = await resultOf(0, as("ben", "pending", "list"));
  const [entry] = listed["pending"] as Record<string, unknown>[];
  const file = String(entry?.["file"]);
  expect(entry).toMatchObject({
    "pending annex": sha256(file),
    "signed by": keysOf("ada"),
    summary: [expect.stringMatching(/^secret db: version 1, read by workload:/) as unknown],
    compared: true,
    changes: [
      { kind: "added", subject: "secret db", path: "latest version", from: null, to: "1" },
      { kind: "added", subject: "secret db", path: "readers" },
      { kind: "added", subject: "secret db", path: "ciphertext" },
    ],
  });
  expect(file).toBe(fileOf("ben", `pending/${sha256(file)}/annex.json`));
  // Another file than the one that is pending: it names what nobody sealed.
  const evil = fileOf("ben", "evil.json");
  writeFileSync(evil, readFileSync(file, "utf8").replace(/"Sealed":"[0-9a-f]{64}"/, `"Sealed":"${"ab".repeat(32)}"`));
  await refused("not_sealed", 1, as("ben", "pending", "sign", evil));
  const signed = await resultOf(0, as("ben", "pending", "sign", file));
  expect(signed).toMatchObject({
    result: "in force",
    signed: file,
    changes: [expect.stringContaining("secret db") as unknown],
  });
  expect(JSON.parse(readFileSync(fileOf("ben", "pinned.json"), "utf8"))).toMatchObject({
    Transition: signed["transition"],
  });
  const verified = await resultOf(0, as("eve", "verify"));
  expect(verified).toMatchObject({ generation: 1, secrets: [{ name: "db", latestVersion: 1 }] });
  const [amendment] = verified["amendments"] as { signedBy: string[] }[];
  expect(amendment?.signedBy.toSorted()).toEqual(keysOf("ada", "ben").toSorted());
}, 60_000);

test("before and after stand beside each other, and who signed may take it back", async () => {
  await resultOf(6, setDb("ada", "--for", "web", "--for", "policy:" + "ab".repeat(32)));
  const { code, stdout } = await deployment.contrastIn(fileOf("ben", "."), "pending", "list");
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /summary: secret db: version 2, read by policy:(?:ab){32}, workload:\S+; version 1, read by workload:\S+ \(before: version 1, read by workload:\S+\)/,
  );
  const listed = await resultOf(0, as("ada", "pending", "list"));
  const [entry] = listed["pending"] as Record<string, unknown>[];
  const file = String(entry?.["file"]);
  await refused("not_pending", 1, as("ben", "pending", "drop", file));
  expect(await resultOf(0, as("ada", "pending", "drop", file))).toMatchObject({
    "signed by": [],
    "missing signatures": 2,
  });
  expect(await resultOf(0, as("ben", "pending", "list"))).toMatchObject({ pending: [] });
}, 60_000);

test("keys in modules: one prepares, each signs elsewhere, and somebody carries it", async () => {
  for (const name of NAMES) await resultOf(0, as(name, "verify"));
  const prepared = await resultOf(0, as("ada", "volume", "allow-format", "data", "--for", "web", "--prepare"));
  const annex = fileOf("ada", "annex.json");
  expect(prepared).toMatchObject({ result: "ready to be signed", annex: sha256(annex), written: [annex] });
  const [ada, eve] = [await signElsewhere("ada", annex), await signElsewhere("eve", annex)];
  copyFileSync(fileOf("eve", "pinned.json"), fileOf("mallory", "pinned.json"));
  await refused("bad_signature", 3, as("mallory", "pending", "sign", annex, ...ada.slice(0, 3), eve[3] ?? ""));
  expect(await resultOf(6, as("mallory", "pending", "sign", annex, ...ada))).toMatchObject({
    "signed by": keysOf("ada"),
  });
  expect(await resultOf(0, as("mallory", "pending", "sign", annex, ...eve))).toMatchObject({ result: "in force" });
  expect(await resultOf(0, as("eve", "volume", "list"))).toMatchObject({ volumes: [{ volume: "data", left: 1 }] });
}, 90_000);

test("what was prepared, or pending, before another change is refused, and it says what to do", async () => {
  for (const name of NAMES) await resultOf(0, as(name, "verify"));
  await resultOf(0, as("eve", "secret", "rm", "db", "--prepare"));
  const late = fileOf("eve", "annex.json");
  const signature = await signElsewhere("eve", late);
  const left = await resultOf(6, as("ada", "volume", "allow-format", "log", "--for", "web"));
  await resultOf(0, as("ben", "pending", "list"));
  const file = fileOf("ben", `pending/${String(left["pending annex"])}/annex.json`);
  await resultOf(0, as("ben", "pending", "sign", file));
  // It is made of the annex before, and would take the volume back.
  await refused("invalid_annex", 2, as("mallory", "pending", "sign", late, ...signature));
  await refused("invalid_annex", 2, as("ben", "pending", "sign", file));
}, 90_000);

test("a stranger sees nothing that is pending, and proposes nothing", async () => {
  await resultOf(6, setDb("ada"));
  await refused("not_owner", 3, as("mallory", "pending", "list"));
  await refused("not_owner", 3, setDb("mallory"));
  await refused("not_owner", 3, as("mallory", "secret", "rm", "db"));
  expect(existsSync(fileOf("mallory", "pending"))).toBe(false);
  expect(Object.keys(await resultOf(0, as("mallory", "status")))).not.toContain("pending");
}, 60_000);

test("no value was printed", () => {
  for (const text of everything) expect(text).not.toContain(VALUE);
});
