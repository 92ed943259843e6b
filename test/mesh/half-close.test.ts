import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readAll, refusals } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

const SUBNET = "127.83.3";

test("a client that has ended its direction is still answered, with all bytes", async () => {
  const request = randomBytes(12_000_000);
  const response = randomBytes(13_000_000);
  const received = Promise.withResolvers<string>();
  const application = (socket: Parameters<typeof readAll>[0]): void => {
    // It answers only when the client's direction has ended.
    void readAll(socket).then((bytes) => {
      received.resolve(sha256Hex(bytes));
      socket.end(response);
    });
  };
  const { connect, ingress, egress } = await startThroughMesh({ subnet: SUBNET, application });
  const socket = connect();
  socket.end(request);
  expect(sha256Hex(await readAll(socket))).toBe(sha256Hex(response));
  expect(await received.promise).toBe(sha256Hex(request));
  expect([...refusals(ingress.lines), ...refusals(egress.lines)]).toEqual([]);
});

test("an application that has ended its direction still receives, all bytes", async () => {
  const request = randomBytes(12_000_000);
  const received = Promise.withResolvers<string>();
  const { connect } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => {
      socket.end("go on");
      void readAll(socket).then((bytes) => received.resolve(sha256Hex(bytes)));
    },
  });
  const socket = connect();
  expect(String(await readAll(socket))).toBe("go on");
  socket.end(request);
  expect(await received.promise).toBe(sha256Hex(request));
});
