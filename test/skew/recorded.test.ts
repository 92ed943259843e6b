import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { execFile } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, onTestFinished, test } from "vitest";
import { decodeBounded } from "../../api/bounded-message.ts";
import { ClientHelloSchema, ServerHelloSchema } from "../../api/channel_pb.ts";
import { NewMeshCertRequestSchema, NewMeshCertResponseSchema } from "../../api/meshapi_pb.ts";
import {
  GetManifestsRequestSchema,
  GetManifestsResponseSchema,
  RecoverRequestSchema,
  RecoverResponseSchema,
  SetManifestRequestSchema,
  SetManifestResponseSchema,
  UserAPI,
} from "../../api/userapi_pb.ts";
import { ChannelClient } from "../../channel/client.ts";
import { chooseProtocol, requireProtocol } from "../../channel/protocol.ts";
import { HistoryCheck } from "../../manifest/history.ts";
import { parseTransition } from "../../manifest/transition.ts";
import { keyPairOf } from "../../pki/keys.ts";
import { leaveFor } from "../owner-leave.ts";
import { type Program, startProgram } from "../programs.ts";
import { PREVIOUS } from "./release.ts";

/** What the previous release kept and said (README.md), and what this one makes of it. */

const ADDRESS = "127.47.1.1";
const root = join(import.meta.dirname, "../..");
const recorded = join(import.meta.dirname, PREVIOUS.version);
const bytesOf = (name: string): Buffer => readFileSync(join(recorded, "messages", `${name}.bin`));
const keysOf = (name: string) => keyPairOf(createPrivateKey(readFileSync(join(recorded, "keys", `${name}.pem`))));
const read = <D extends DescMessage>(schema: D, name: string): MessageShape<D> => fromBinary(schema, bytesOf(name));

const directory = mkdtempSync(join(tmpdir(), "recorded-skew-"));
afterAll(() => rmSync(directory, { recursive: true }));

async function startCoordinator(state: string): Promise<Program> {
  const program = startProgram(["coordinator/main.ts"], {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, "coordinator"),
    CONTRAST_STATE_DIR: join(directory, state),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  });
  onTestFinished(async () => {
    program.child.kill("SIGTERM");
    await program.exited;
  });
  cpSync(join(recorded, "tee/coordinator"), join(directory, "coordinator"), { recursive: true });
  await program.line("ready");
  return program;
}

function clientOf(owner: "workload-owner" | "seedshare-owner"): ChannelClient<unknown> {
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys: keysOf(owner), handshakeMs: 10_000 });
  onTestFinished(() => client.close());
  return client;
}

const soon = (): Date => new Date(Date.now() + 20_000);

test("a Coordinator recovers the recorded state by the recorded request, and the history goes on", async () => {
  cpSync(join(recorded, "state"), join(directory, "recovered"), { recursive: true });
  await startCoordinator("recovered");
  const recovery = read(RecoverRequestSchema, "recover.request");
  const answer = await clientOf("seedshare-owner").call(UserAPI.method.recover, recovery, soon());
  const before = read(RecoverResponseSchema, "recover.response");
  expect(Buffer.from(answer.manifest)).toEqual(Buffer.from(before.manifest));
  expect(answer.missingShares).toBe(0);

  const owner = clientOf("workload-owner");
  const { history } = await owner.call(UserAPI.method.getManifests, {}, soon());
  expect(history).toEqual(read(GetManifestsResponseSchema, "get-manifests.response").history);

  const { manifest, policies } = read(SetManifestRequestSchema, "first-set.request");
  const leave = await leaveFor(owner, keysOf("workload-owner"), manifest);
  await owner.call(UserAPI.method.setManifest, { manifest, policies, ...leave }, soon());
  expect((await owner.call(UserAPI.method.getManifests, {}, soon())).history).toHaveLength(3);
});

test("a Coordinator takes recorded sets", async () => {
  await startCoordinator("empty");
  const client = clientOf("workload-owner");
  const first = await client.call(
    UserAPI.method.setManifest,
    read(SetManifestRequestSchema, "first-set.request"),
    soon(),
  );
  expect(first.seedShares?.shares).toHaveLength(1);
  // It is read whole, and judged: it was signed for another mesh CA.
  const second = client.call(UserAPI.method.setManifest, read(SetManifestRequestSchema, "second-set.request"), soon());
  await expect(second).rejects.toMatchObject({ code: "signature_outdated" });
});

test.each<[string, DescMessage]>([
  ["first-set.request", SetManifestRequestSchema],
  ["first-set.response", SetManifestResponseSchema],
  ["second-set.request", SetManifestRequestSchema],
  ["second-set.response", SetManifestResponseSchema],
  ["get-manifests.request", GetManifestsRequestSchema],
  ["get-manifests.response", GetManifestsResponseSchema],
  ["recover.request", RecoverRequestSchema],
  ["recover.response", RecoverResponseSchema],
  ["new-mesh-cert.request", NewMeshCertRequestSchema],
  ["new-mesh-cert.response", NewMeshCertResponseSchema],
  ["client-hello.cli", ClientHelloSchema],
  ["client-hello.initializer", ClientHelloSchema],
  ["server-hello.accepted", ServerHelloSchema],
  ["server-hello.rejected", ServerHelloSchema],
])("every field of the recorded %s is known", (name, schema) => {
  // What is not known is dropped, and would be missing.
  expect(Buffer.from(toBinary(schema, decodeBounded(schema, bytesOf(name))))).toEqual(bytesOf(name));
});

test("the recorded history is one that owners allowed", () => {
  const { history } = read(GetManifestsResponseSchema, "get-manifests.response");
  const check = new HistoryCheck();
  for (const { manifest, transitionRecord } of history) {
    check.next({ transition: parseTransition(transitionRecord), manifest: Buffer.from(manifest) });
  }
  expect(history).toHaveLength(2);
});

test("recorded hellos are of protocol 1", () => {
  for (const name of ["client-hello.cli", "client-hello.initializer"]) {
    expect(chooseProtocol(read(ClientHelloSchema, name))).toBe(1);
  }
  const { answer } = read(ServerHelloSchema, "server-hello.accepted");
  if (answer.case !== "accepted") throw new Error("it was refused");
  expect(requireProtocol(answer.value.protocol)).toBe(1);
  expect(read(ServerHelloSchema, "server-hello.rejected").answer.value).toMatchObject({ code: "evidence_missing" });
});

const run = promisify(execFile);
const CONFIGURATION = JSON.stringify({ version: "v2", breaking: { use: ["WIRE"] } });

/** Compares today's messages with those of the previous release, after a change. */
async function compareProtos(change: (proto: string) => string): Promise<unknown> {
  const folder = mkdtempSync(join(directory, "api-"));
  cpSync(join(root, "api"), folder, { recursive: true, filter: (path) => !path.endsWith(".ts") });
  const proto = readFileSync(join(folder, "channel.proto"), "utf8");
  writeFileSync(join(folder, "channel.proto"), change(proto));
  const against = join(recorded, "protos.binpb");
  return run("node_modules/.bin/buf", ["breaking", folder, "--against", against, "--config", CONFIGURATION], {
    cwd: root,
  });
}

test("no message changed on the wire", async () => {
  await compareProtos((proto) => proto);
});

test("a field that changed its number is found", async () => {
  const changed = compareProtos((proto) => proto.replace("bytes signature = 4;", "bytes signature = 9;"));
  await expect(changed).rejects.toMatchObject({ stdout: expect.stringContaining("was deleted") as string });
});
