import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AttestAnswer, Capabilities, HistoryAnswer, Problem } from "../api/http/answers.ts";
import { verifyDeployment } from "../verifier/verifier.ts";
import { type CliDeployment, createCliDeployment } from "./cli-deployment.ts";
import type { Program } from "./programs.ts";

/** The HTTP API of the Coordinator as the program it is, asked by the commands of docs/http-api.md and by the verifier library. */

const ADDRESS = "127.45.9.1";
const URL = `http://${ADDRESS}:1314`;
const run = promisify(execFile);
let deployment: CliDeployment;
let coordinator: Program;

beforeAll(async () => {
  deployment = createCliDeployment(ADDRESS);
  expect((await deployment.generate()).code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
}, 60_000);

afterAll(() => deployment.remove());

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const verify = () =>
  verifyDeployment({ url: URL, manifest: deployment.read("manifest.json"), allowInsecure: true, policies: true });
const stateOf = async (): Promise<string> =>
  Capabilities.parse(await (await fetch(`${URL}/v1/capabilities`)).json()).state;

test("without a manifest it says so", async () => {
  const reply = await fetch(`${URL}/v1/history`);
  expect(reply.status).toBe(503);
  expect(Problem.parse(await reply.json())).toMatchObject({ code: "no_manifest" });
  expect(await stateOf()).toBe("empty");
});

test("the commands of the document get what is in force, which the library verifies", async () => {
  await deployment.result("set");
  await deployment.result("verify");
  const page = readFileSync(join(import.meta.dirname, "../docs/http-api.md"), "utf8");
  const [, script = ""] = /```sh\n(.*?)```/s.exec(page) ?? [];
  expect(script.match(/coordinator\.example\.com/g)).toHaveLength(3);
  const commands = `set -eu\n${script.replaceAll("coordinator.example.com", ADDRESS)}`;
  const { stdout } = await run("bash", ["-c", commands], { cwd: deployment.directory });
  expect(JSON.parse(stdout)).toMatchObject({ state: "active", insecure: true });
  const read = (name: string): unknown => JSON.parse(readFileSync(join(deployment.directory, name), "utf8"));
  const answer = AttestAnswer.parse(read("answer.json"));
  expect(answer.meshCa).toBe(deployment.read("verify/mesh-ca.pem"));
  const { transitions } = HistoryAnswer.parse(read("history.json"));
  expect(transitions.at(-1)).toBe(answer.transition);
  const { meshCa } = await verify();
  expect(JSON.stringify(meshCa)).toContain(answer.meshCa.split("\n")[1]);
});

test("an annex is in force and had by its digest, and a manifest of before is still there", async () => {
  const first = sha256(readFileSync(deployment.file("manifest.json")));
  writeFileSync(join(deployment.directory, "value"), "hunter2");
  const value = join(deployment.directory, "value");
  await deployment.result("secret", "set", "db", "--for", "web", "--from-file", value);
  deployment.editManifest((manifest) => void (manifest["CertificateLifetime"] = "48h"));
  await deployment.result("set");
  const { transitions } = HistoryAnswer.parse(await (await fetch(`${URL}/v1/history`)).json());
  expect(transitions).toHaveLength(3);
  const facts = await verify();
  expect(facts.history).toHaveLength(3);
  const ask = async (path: string) => fetch(`${URL}${path}`);
  const [, , last] = AttestAnswer.parse(
    await (
      await fetch(`${URL}/v1/attest`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ nonce: "00".repeat(32) }),
      })
    ).json(),
  ).history;
  const annex = await ask(`/v1/annexes/${last?.annex}`);
  expect(annex.status).toBe(200);
  expect(annex.headers.get("content-type")).toBe("application/json");
  const bytes = Buffer.from(await annex.arrayBuffer());
  expect(sha256(bytes)).toBe(last?.annex);
  expect(JSON.parse(bytes.toString())).toHaveProperty("Secrets.db");
  const headers = { "if-none-match": `"${last?.annex}"` };
  expect((await fetch(`${URL}/v1/annexes/${last?.annex}`, { headers })).status).toBe(304);
  const before = await ask(`/v1/manifests/${first}`);
  expect(sha256(Buffer.from(await before.arrayBuffer()))).toBe(first);
  expect(bytes.toString()).not.toContain("hunter2");
});

test("after a restart it attests nothing until it is recovered, and then what it did before", async () => {
  await deployment.result("verify");
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  expect(await stateOf()).toBe("recovery");
  await expect(verify()).rejects.toMatchObject({ name: "VerifyRefusal" });
  await deployment.result("recover");
  expect((await verify()).history).toHaveLength(3);
});
