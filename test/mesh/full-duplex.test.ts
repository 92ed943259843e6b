import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readAll } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

test("bytes go both ways at once", async () => {
  const request = randomBytes(20_000_000);
  const response = randomBytes(21_000_000);
  const received = Promise.withResolvers<string>();
  const { connect } = await startThroughMesh({
    subnet: "127.83.2",
    application: (socket) => {
      socket.end(response);
      void readAll(socket).then((bytes) => received.resolve(sha256Hex(bytes)));
    },
  });
  const socket = connect();
  socket.end(request);
  expect(sha256Hex(await readAll(socket))).toBe(sha256Hex(response));
  expect(await received.promise).toBe(sha256Hex(request));
});

test("what comes back while it is still being sent is the same", async () => {
  const { connect } = await startThroughMesh({ subnet: "127.83.2", application: (socket) => void socket.pipe(socket) });
  const bytes = randomBytes(20_000_000);
  const socket = connect();
  socket.end(bytes);
  expect(sha256Hex(await readAll(socket))).toBe(sha256Hex(bytes));
});
