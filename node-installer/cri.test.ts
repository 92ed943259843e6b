import { Server, ServerCredentials } from "@grpc/grpc-js";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { askRuntimes, runtimesOf } from "./cri.ts";

/** A field of kind 2 (https://protobuf.dev/programming-guides/encoding/). */
function field(number: number, content: Uint8Array | string): Buffer {
  const bytes = Buffer.from(content);
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 0x7f) | 0x80, bytes.length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
}

const CONFIG = JSON.stringify({
  containerd: { runtimes: { runc: { options: { SystemdCgroup: true } }, kata: { options: null } }, other: 1 },
  padding: "x".repeat(300),
});
const ANSWER = Buffer.concat([
  field(1, field(1, "RuntimeReady")),
  field(2, Buffer.concat([field(1, "golang"), field(2, '"go1.19"')])),
  field(2, Buffer.concat([field(1, "config"), field(2, CONFIG)])),
]);

test("reads handlers and their options out of an answer", () => {
  expect(runtimesOf(ANSWER)).toEqual({ handlers: { runc: { SystemdCgroup: true }, kata: {} } });
  expect(runtimesOf(Buffer.of())).toEqual({ handlers: {} });
});

async function socketOf(answer: (request: Buffer) => Buffer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "contrast-cri-"));
  const server: Server = new Server();
  const raw = (bytes: Buffer): Buffer => bytes;
  server.addService(
    {
      status: {
        path: "/runtime.v1.RuntimeService/Status",
        requestStream: false,
        responseStream: false,
        requestSerialize: raw,
        requestDeserialize: raw,
        responseSerialize: raw,
        responseDeserialize: raw,
      },
    },
    {
      status: (call: { request: Buffer }, done: (error: null, answer: Buffer) => void) =>
        done(null, answer(call.request)),
    },
  );
  const socket = join(folder, "containerd.sock");
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  onTestFinished(async () => {
    server.forceShutdown();
    await rm(folder, { recursive: true });
  });
  return socket;
}

test("asks over the socket, verbosely", async () => {
  let asked: Uint8Array = Buffer.of();
  const socket = await socketOf((request) => {
    asked = request;
    return ANSWER;
  });
  expect(Object.keys((await askRuntimes(socket, 5_000, Date.now)).handlers)).toEqual(["runc", "kata"]);
  expect(asked).toEqual(Buffer.from([0x08, 0x01]));
});

test.for([
  ["nobody listens", async (): Promise<string> => "/nowhere/containerd.sock"],
  ["the answer has bytes that mean nothing", async (): Promise<string> => socketOf(() => Buffer.from([0x0b]))],
  [
    "the answer has another configuration",
    async (): Promise<string> => socketOf(() => field(2, Buffer.concat([field(1, "config"), field(2, "{")]))),
  ],
] as const)("%s: the error names the socket", async ([, socketFor]) => {
  const socket = await socketFor();
  await expect(askRuntimes(socket, 2_000, Date.now)).rejects.toMatchObject({
    code: "containerd_unreachable",
    where: socket,
  });
});
