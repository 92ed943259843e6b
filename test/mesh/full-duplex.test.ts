import { createHash, randomBytes } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { readAll } from "../mesh-proxies.ts";
import { carryOver, WAYS } from "../ways.ts";
import { startThroughMesh } from "./through-mesh.ts";

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

describe.each(WAYS)("by %s", (way) => {
  beforeAll(async () => carryOver(way));

  test("bytes go both ways at once", async () => {
    const request = randomBytes(20_000_000);
    const response = randomBytes(21_000_000);
    const received = Promise.withResolvers<string>();
    const { connect } = await startThroughMesh({
      subnet: "127.83.2",
      application: (socket) => {
        socket.end(response);
        void readAll(socket).then((bytes) => received.resolve(sha256(bytes)));
      },
    });
    const socket = connect();
    socket.end(request);
    expect(sha256(await readAll(socket))).toBe(sha256(response));
    expect(await received.promise).toBe(sha256(request));
  });

  test("what comes back while it is still being sent is the same", async () => {
    const { connect } = await startThroughMesh({
      subnet: "127.83.2",
      application: (socket) => void socket.pipe(socket),
    });
    const bytes = randomBytes(20_000_000);
    const socket = connect();
    socket.end(bytes);
    expect(sha256(await readAll(socket))).toBe(sha256(bytes));
  });
});
