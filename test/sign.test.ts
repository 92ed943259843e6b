import { execFileSync } from "node:child_process";
import { createPublicKey, verify } from "node:crypto";
import { cpSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { changeToSign } from "../manifest/change.ts";
import { spkiDigest } from "../pki/keys.ts";
import { type CliDeployment, createCliDeployment, type Ended } from "./cli-deployment.ts";
import { keyDigestOf } from "./owner-leave.ts";
import type { Program } from "./programs.ts";

/** Changes of the manifest by signature, with the programs as people run them. The tests go on from one another. */

let deployment: CliDeployment;
let coordinator: Program;
/** An owner's key that is only ever used by the openssl program, and its public half. */
let moduleKey: string;
let moduleCertificate: string;

beforeAll(async () => {
  deployment = createCliDeployment("127.88.10.1");
  moduleKey = join(deployment.directory, "module.pem");
  moduleCertificate = join(deployment.directory, "module.pub.pem");
  openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", moduleKey);
  openssl("pkey", "-in", moduleKey, "-pubout", "-out", moduleCertificate);
  expect((await deployment.generate()).code).toBe(0);
  expect((await deployment.generate("-w", moduleCertificate)).code).toBe(0);
  addHardware(8);
  coordinator = await deployment.startCoordinator("state");
  await deployment.result("set");
  await deployment.result("verify");
}, 60_000);

afterAll(() => deployment.remove());

function openssl(...args: string[]): void {
  execFileSync("openssl", args, { stdio: "pipe" });
}

/** A second platform beside the software TEE, with a minimum. */
function addHardware(snpVersion: number): void {
  const tcb = { BootloaderVersion: 3, TEEVersion: 0, SNPVersion: snpVersion, MicrocodeVersion: 115 };
  const snp = [{ ProductName: "Milan", TrustedMeasurement: "11".repeat(48), MinimumTCB: tcb }];
  deployment.editManifest((manifest) => Object.assign(manifest["ReferenceValues"] as object, { snp }));
}

/** Another manifest, that is as good as the one before. */
function addName(name: string): void {
  deployment.editManifest((manifest) => {
    for (const policy of Object.values(manifest["Policies"] as Record<string, { SANs: string[] }>)) {
      policy.SANs.push(name);
    }
  });
}

const signature = (): string => deployment.file("transition.sig");
const refused = (code: string, exit: number): Partial<Ended> => ({
  code: exit,
  stderr: expect.stringContaining(code) as string,
});
const pinned = (): Readonly<Record<"Transition" | "MeshCaKey", string>> => {
  return JSON.parse(deployment.read("pinned.json")) as Record<"Transition" | "MeshCaKey", string>;
};
/** What is to be signed for the manifest at hand. */
const changeAtHand = (transition = pinned().Transition): Uint8Array => {
  const manifest = readFileSync(deployment.file("manifest.json"));
  const [previous, meshKey] = [transition, pinned().MeshCaKey].map((hex) => Buffer.from(hex, "hex"));
  if (previous === undefined || meshKey === undefined) throw new Error("nothing is pinned");
  return changeToSign({ manifest, previous, meshKey });
};

test("an owner's signature is carried by somebody else, and is good once", async () => {
  addName("first");
  const signed = await deployment.result("sign");
  expect(signed).toMatchObject({
    result: "signed",
    "latest transition": pinned().Transition,
    "mesh CA key": pinned().MeshCaKey,
  });
  const history = JSON.parse(deployment.read("verify/history.json")) as { transition: string }[];
  expect(pinned().Transition).toBe(history.at(-1)?.transition);
  expect(pinned().MeshCaKey).toBe(toHex(keyDigestOf(deployment.read("verify/mesh-ca.pem"))));
  const key = createPublicKey(deployment.read("workload-owner.pem"));
  expect(verify("sha256", changeAtHand(), key, readFileSync(signature()))).toBe(true);

  expect(await deployment.contrast("set", "--signature", signature())).toMatchObject({ code: 0 });
  expect((await deployment.contrast("verify")).stdout).toContain("generation: 2");
  const { history: facts } = await deployment.result("verify");
  const owner = toHex(spkiDigest(key));
  expect(facts).toMatchObject([{ signedBy: [] }, { signedBy: [owner] }]);
  // The manifest is the same; its place in the history is not.
  expect(await deployment.contrast("set", "--signature", signature())).toMatchObject(refused("bad_signature", 3));
}, 60_000);

test("openssl signs what --prepare wrote, and the public key is enough to carry it", async () => {
  addName("second");
  const prepared = await deployment.result("sign", "--prepare");
  expect(prepared).toMatchObject({ result: "ready to be signed", written: [deployment.file("transition.tbs")] });
  openssl("dgst", "-sha256", "-sign", moduleKey, "-out", signature(), deployment.file("transition.tbs"));
  const carry = ["--signature", signature(), "--workload-owner-key"];
  // Said to be by another owner than the one who signed.
  const other = await deployment.contrast("set", ...carry, deployment.file("workload-owner.pem"));
  expect(other).toMatchObject(refused("bad_signature", 3));
  expect(await deployment.contrast("set", ...carry, moduleCertificate)).toMatchObject({ code: 0 });
  expect((await deployment.contrast("verify")).stdout).toContain("generation: 3");
}, 60_000);

test("a signature over another manifest or by a stranger is refused", async () => {
  expect((await deployment.contrast("sign")).code).toBe(0);
  const before = deployment.read("manifest.json");
  addName("not signed");
  writeFileSync(
    deployment.file("manifest.json"),
    deployment.read("manifest.json").replaceAll("not signed", "unsigned"),
  );
  expect(await deployment.contrast("set", "--signature", signature())).toMatchObject(refused("bad_signature", 3));
  writeFileSync(deployment.file("manifest.json"), before);

  const strangerKey = join(deployment.directory, "stranger.pem");
  openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", strangerKey);
  const by = ["--workload-owner-key", strangerKey];
  expect((await deployment.contrast("sign", ...by)).code).toBe(0);
  expect(await deployment.contrast("set", "--signature", signature(), ...by)).toMatchObject(refused("not_owner", 3));
  expect((await deployment.contrast("verify")).stdout).toContain("generation: 3");
}, 60_000);

test("sign goes by the transition and the file that it is told", async () => {
  const output = join(deployment.directory, "elsewhere", "change.sig");
  const transition = "ab".repeat(32);
  expect(await deployment.result("sign", "--latest-transition", transition, "-o", output)).toMatchObject({
    "latest transition": transition,
    written: [output],
  });
  const key = createPublicKey(deployment.read("workload-owner.pem"));
  expect(verify("sha256", changeAtHand(transition), key, readFileSync(output))).toBe(true);
  expect(statSync(output).size).toBeLessThan(110);
});

test.each([
  ["an RSA key", ["--workload-owner-key", "seedshare-owner.pem"], /malformed_file.*a key of type rsa.*an EC key/],
  ["a missing key", ["--workload-owner-key", "nobody.pem"], /unreadable_file.*nobody\.pem/],
  ["no transition", ["--latest-transition", "latest"], /--latest-transition.*64 hexadecimal digits/],
])("sign with %s is refused with exit code 2", async (_name, [option = "", value = ""], message) => {
  const argument = option === "--workload-owner-key" ? deployment.file(value) : value;
  const { code, stderr } = await deployment.contrast("sign", option, argument);
  expect(stderr).toMatch(message);
  expect(code).toBe(2);
});

test("sign without a pin says where it would come from", async () => {
  const pin = deployment.read("pinned.json");
  const { Transition: _, ...incomplete } = JSON.parse(pin) as Record<string, string>;
  const texts = ["[]", "{", JSON.stringify(incomplete), JSON.stringify({ ...JSON.parse(pin), Transition: "latest" })];
  for (const text of texts) {
    writeFileSync(deployment.file("pinned.json"), text);
    expect(await deployment.contrast("sign")).toMatchObject(refused("malformed_file", 2));
  }
  rmSync(deployment.file("pinned.json"));
  expect(await deployment.contrast("sign")).toMatchObject(refused("not_pinned", 3));
  expect((await deployment.contrast("sign")).stderr).toContain("contrast verify");
  writeFileSync(deployment.file("pinned.json"), pin);
}, 60_000);

test("set --atomic without a history says where it would come from", async () => {
  const history = deployment.read("verify/history.json");
  for (const text of ["[]", "{", '[{"transition": "latest"}]']) {
    writeFileSync(deployment.file("verify/history.json"), text);
    expect(await deployment.contrast("set", "--atomic")).toMatchObject(refused("malformed_file", 2));
  }
  rmSync(deployment.file("verify/history.json"));
  expect(await deployment.contrast("set", "--atomic")).toMatchObject(refused("contrast verify", 2));
  writeFileSync(deployment.file("verify/history.json"), history);
}, 30_000);

test("set warns of every minimum that the new manifest lowers, and only of those", async () => {
  addHardware(7);
  const { code, stderr } = await deployment.contrast("set");
  const warning = "the manifest lowers $.ReferenceValues.snp[0].MinimumTCB.SNPVersion from 8 to 7";
  expect(stderr).toBe(`warning: ${warning}`);
  expect(code).toBe(0);
  expect(await deployment.result("set")).toMatchObject({ warnings: [] });
  addHardware(6);
  expect(await deployment.result("set")).toMatchObject({ warnings: [warning.replace("8 to 7", "7 to 6")] });
}, 30_000);

test("set --atomic is refused when somebody else was faster", async () => {
  await deployment.result("verify");
  await deployment.result("set");
  expect(await deployment.contrast("set", "--atomic")).toMatchObject(refused("conflict", 1));
  expect(await deployment.contrast("set", "--latest-transition", "0".repeat(64))).toMatchObject(refused("conflict", 1));
  await deployment.result("verify");
  expect((await deployment.contrast("set", "--atomic")).code).toBe(0);
}, 30_000);

/** A second Coordinator from a copy of the state: the same seed, the same history, another mesh CA. */
test("a signature is good on the Coordinator that was verified, and on no fork of it; a recovery ends it", async () => {
  await deployment.result("verify");
  addName("third");
  await deployment.result("sign");
  const signed = readFileSync(signature());
  cpSync(join(deployment.directory, "state"), join(deployment.directory, "fork"), { recursive: true });
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("fork");
  const before = deployment.read("manifest.json");
  writeFileSync(deployment.file("manifest.json"), deployment.read(`verify/manifest.${generation()}.json`));
  expect((await deployment.contrast("recover")).code).toBe(0);
  writeFileSync(deployment.file("manifest.json"), before);

  expect(await deployment.contrast("set", "--signature", signature())).toMatchObject(refused("signature_outdated", 3));
  // Who carries it and has pinned nothing can't tell why.
  const pin = deployment.read("pinned.json");
  rmSync(deployment.file("pinned.json"));
  const carrier = await deployment.contrast("set", "--signature", signature());
  expect(carrier).toMatchObject(refused("bad_signature", 3));
  expect(carrier.stderr).toContain("good until the next set, amendment or recovery");
  writeFileSync(deployment.file("pinned.json"), pin);

  // Signed again after a verify, it is good.
  writeFileSync(deployment.file("manifest.json"), deployment.read(`verify/manifest.${generation()}.json`));
  await deployment.result("verify");
  writeFileSync(deployment.file("manifest.json"), before);
  await deployment.result("sign");
  expect(readFileSync(signature())).not.toEqual(signed);
  expect((await deployment.contrast("set", "--signature", signature())).code).toBe(0);
}, 90_000);

function generation(): number {
  return (JSON.parse(deployment.read("verify/history.json")) as unknown[]).length;
}

test("a signed change is not made the first manifest of a Coordinator without a state", async () => {
  await deployment.result("verify");
  await deployment.result("sign");
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("empty");
  expect(await deployment.contrast("set", "--signature", signature())).toMatchObject(refused("another_deployment", 3));
  rmSync(deployment.file("pinned.json"));
  expect(await deployment.contrast("set", "--signature", signature())).toMatchObject(refused("another_deployment", 3));
}, 60_000);
