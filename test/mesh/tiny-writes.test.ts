import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { expect, test } from "vitest";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readAll } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

const BYTES = 20_000;

test("bytes that are written one by one arrive, in order and all of them", async () => {
  const { connect, ingress } = await startThroughMesh({
    subnet: "127.79.1",
    application: (socket) => void socket.pipe(socket),
  });
  const sent = randomBytes(BYTES);
  const socket = connect();
  const received = readAll(socket);
  for (let i = 0; i < BYTES; i++) {
    if (!socket.write(sent.subarray(i, i + 1))) await once(socket, "drain");
    // A packet of its own, not one of the next write, too.
    if (i % 100 === 0) await new Promise(setImmediate);
  }
  socket.end();
  expect(sha256Hex(await received)).toBe(sha256Hex(sent));
  const counts = ingress.telemetry.metrics.rule("ingress", "(none)");
  await expect.poll(() => counts.ended.completed).toBe(1);
  expect([counts.bytes("up"), counts.bytes("down")]).toEqual([BYTES, BYTES]);
});

test("a byte does not wait for the next one", async () => {
  const { connect } = await startThroughMesh({ subnet: "127.79.2", application: (socket) => void socket.pipe(socket) });
  const socket = connect();
  // Each byte is sent when the one before has come back: one that waited for another would wait for ever.
  for (let i = 0; i < 500; i++) {
    socket.write(Buffer.of(i % 256));
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect([...answer]).toEqual([i % 256]);
  }
});
