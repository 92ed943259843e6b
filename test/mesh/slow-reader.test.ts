import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readAll } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";

test("an application that does not read stops the sender, and loses nothing", async () => {
  const bytes = randomBytes(150_000_000);
  const accepted = Promise.withResolvers<Socket>();
  const { connect } = await startThroughMesh({ subnet: "127.83.5", application: accepted.resolve });
  const socket = connect();
  let sent = 0;
  const send = (): void => {
    if (sent === bytes.length) socket.end();
    else socket.write(bytes.subarray(sent, (sent += 500_000)), send);
  };
  send();
  const application = await accepted.promise;
  // The sender stands still when the kernel's buffers of three connections, and those of the proxies, are full.
  let before = -1;
  const stands = (): boolean => before === (before = sent);
  await expect.poll(stands, { interval: 500, timeout: 20_000 }).toBe(true);
  expect(sent).toBeLessThan(bytes.length / 2);
  expect(sha256Hex(await readAll(application))).toBe(sha256Hex(bytes));
});
