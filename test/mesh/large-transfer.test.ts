import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readAll } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

test("a large transfer arrives whole, in either direction", async () => {
  const request = randomBytes(60_000_000);
  const response = randomBytes(61_000_001);
  const received = Promise.withResolvers<string>();
  const { connect } = await startThroughMesh({
    subnet: "127.83.1",
    application: (socket) => {
      void readAll(socket).then((bytes) => {
        received.resolve(sha256Hex(bytes));
        socket.end(response);
      });
    },
  });
  const socket = connect();
  socket.end(request);
  expect(sha256Hex(await readAll(socket))).toBe(sha256Hex(response));
  expect(await received.promise).toBe(sha256Hex(request));
});
