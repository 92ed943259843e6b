import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as http2Connect, constants } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { UserAPI } from "../api/userapi_pb.ts";
import { startExchange } from "../channel/exchange.ts";
import { startTls } from "../channel/tls.ts";
import { generateEcKey } from "../pki/keys.ts";
import type { Program } from "./programs.ts";
import {
  call,
  type Client,
  createDeployment,
  type Deployment,
  type Manifest,
  readHistory,
} from "./state-deployment.ts";

/** What a Coordinator in force makes of bad input: a code, a message, and the state as before. */

const ADDRESS = "127.100.0.1";
let directory: string;
let deployment: Deployment;
let coordinator: Program;
let owner: Client;
let good: Manifest;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "bad-input-test-"));
  deployment = await createDeployment(directory, ADDRESS);
  coordinator = deployment.start(join(directory, "state"));
  await coordinator.line("ready");
  owner = await deployment.workloadOwner();
  good = deployment.manifest("web");
  await call(owner, UserAPI.method.setManifest, good);
});

afterAll(async () => {
  owner.close();
  coordinator.child.kill("SIGKILL");
  await coordinator.exited;
  rmSync(directory, { recursive: true });
});

async function expectStateAsBefore(): Promise<void> {
  expect(await readHistory(owner)).toEqual([good.manifest.toString()]);
  expect((await fetch(`http://${ADDRESS}:9102/probe/readiness`)).status).toBe(200);
}

type Json = Record<string, unknown>;

/** The manifest in force, changed. */
function changed(change: (manifest: Json) => void): Buffer {
  const manifest = JSON.parse(good.manifest.toString()) as Json;
  change(manifest);
  return Buffer.from(JSON.stringify(manifest));
}

const text = (): string => good.manifest.toString();
const nested = (depth: number): Buffer => Buffer.from(`{"Policies": ${"[".repeat(depth)}${"]".repeat(depth)}}`);

test.each<[string, () => Buffer, string]>([
  ["nothing", () => Buffer.alloc(0), "1:1"],
  ["random bytes", () => randomBytes(1000), "manifest"],
  ["half a manifest", () => good.manifest.subarray(0, good.manifest.length / 2), "manifest"],
  ["a list", () => Buffer.from("[]"), "$"],
  ["an unknown key", () => changed((manifest) => (manifest["Polices"] = {})), "$.Polices"],
  ["a duplicate key", () => Buffer.from(text().replace("{", '{"Policies":{},')), "$.Policies"],
  ["__proto__ at the top", () => Buffer.from(text().replace("{", '{"__proto__":{},')), "$.__proto__"],
  [
    "__proto__ as a policy",
    () => Buffer.from(text().replace('"Policies":{', '"Policies":{"__proto__":{"SANs":["evil"]},')),
    "$.Policies.__proto__",
  ],
  [
    "an owner's digest that is too short",
    () => changed((manifest) => (manifest["WorkloadOwnerKeyDigests"] = ["abcd"])),
    "$.WorkloadOwnerKeyDigests[0]",
  ],
  [
    "a seed share owner's key that is garbage",
    () => changed((manifest) => (manifest["SeedshareOwnerPubKeys"] = ["30820122"])),
    "$.SeedshareOwnerPubKeys[0]",
  ],
  [
    "a seed share owner's key in PEM",
    () => changed((manifest) => (manifest["SeedshareOwnerPubKeys"] = ["-----BEGIN PUBLIC KEY-----\nMIIB"])),
    "$.SeedshareOwnerPubKeys[0]",
  ],
  ["a threshold of none", () => changed((manifest) => (manifest["SeedshareThreshold"] = 0)), "$.SeedshareThreshold"],
  [
    "more owners than there are",
    () => changed((manifest) => (manifest["SeedshareThreshold"] = 2)),
    "$.SeedshareThreshold",
  ],
  ["nesting", () => nested(1000), "at most 64 levels"],
  ["10 MB of nesting", () => nested(5_000_000), "at most 1048576 bytes"],
  ["1 MB of equal keys", () => Buffer.from(`{${'"a":0,'.repeat(170_000)}"a":0}`), "$.a"],
])("a manifest with %s is refused", async (_name, manifest, place) => {
  const bytes = manifest();
  const leave = await deployment.leaveFor(owner, bytes);
  const refused = call(owner, UserAPI.method.setManifest, { ...good, manifest: bytes, ...leave });
  const error = await refused.then(
    () => undefined,
    (cause: unknown) => cause as { code: string; message: string; where?: string; describe(): string },
  );
  expect(error?.code).toBe("invalid_manifest");
  expect(error?.describe()).toContain(place);
  expect(error?.describe().length).toBeLessThan(10_000);
  await expectStateAsBefore();
});

test.each<[string, () => Manifest, string]>([
  ["a policy too many", () => ({ ...good, policies: [...good.policies, Buffer.from("evil")] }), "policy_mismatch"],
  ["a policy too few", () => ({ ...good, policies: good.policies.slice(1) }), "policy_mismatch"],
])("a set with %s is refused", async (_name, manifest, code) => {
  const request = { ...manifest(), ...(await deployment.leaveFor(owner, good.manifest)) };
  await expect(call(owner, UserAPI.method.setManifest, request)).rejects.toMatchObject({ code });
  await expectStateAsBefore();
});

test("a message that is larger than any deployment is refused", async () => {
  const huge = { ...good, policies: [Buffer.alloc(17 * 1024 * 1024)] };
  // The connection may end with it: what is still to come of the message is not waited for.
  const sender = await deployment.workloadOwner();
  await expect(call(sender, UserAPI.method.setManifest, huge)).rejects.toThrow();
  sender.close();
  await expectStateAsBefore();
});

test("a method that the API does not have is refused", async () => {
  await expect(call(owner, MeshAPI.method.newMeshCert, {})).rejects.toMatchObject({
    message: expect.stringContaining("out of protocol"),
    got: expect.stringContaining("UNIMPLEMENTED"),
  });
  await expectStateAsBefore();
});

/** A connection of the attested channel, after the exchange: what comes next is HTTP/2. */
async function open(): Promise<TLSSocket> {
  const keys = await generateEcKey("P-256");
  const socket = await startTls(connect(1313, ADDRESS), AbortSignal.timeout(10_000));
  await startExchange(socket, keys, {});
  return socket;
}

test.each([
  ["no HTTP/2", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["garbage after the preface", Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), randomBytes(4096)])],
])("%s on a channel that is open ends that connection and no other", async (_name, bytes) => {
  const socket = await open();
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined);
  socket.resume();
  socket.write(bytes);
  await closed;
  await expectStateAsBefore();
});

test("a request that is no protobuf is refused with a code", async () => {
  const socket = await open();
  socket.on("error", () => undefined);
  const session = http2Connect(`http://${ADDRESS}`, { createConnection: () => socket });
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: "/userapi.UserAPI/SetManifest",
    "content-type": "application/grpc",
    te: "trailers",
  });
  const trailers = new Promise<Record<string, unknown>>((resolve, reject) => {
    stream.on("trailers", resolve);
    stream.on("response", (headers) => {
      if (headers["grpc-status"] !== undefined) resolve(headers);
    });
    stream.on("error", reject);
  });
  const garbage = Buffer.alloc(64, 0xff);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(garbage.length, 1);
  stream.end(Buffer.concat([prefix, garbage]));
  stream.resume();
  const { "grpc-status": status, "grpc-message": message } = await trailers;
  expect(status).toBe("3");
  expect(decodeURIComponent(String(message))).toContain("no message of its method");
  session.destroy();
  await expectStateAsBefore();
});
