import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { createMesh } from "../../pki/test-mesh.ts";
import { bindIngress, connectSecurely, startServer } from "../mesh-proxies.ts";
import { residentMemory } from "./process-state.ts";
import { startProxyProgram } from "./proxy-program.ts";
import { ping } from "./traffic.ts";

const PROXY = "127.79.6.1";
const APPLICATION = "127.79.6.2";
const READERS = 150;
const EACH = 16 * 1024 * 1024;
const MOST_PER_DIRECTION = 256 * 1024;
/** For the garbage of what was carried meanwhile. */
const SLACK = 128 * 1024 * 1024;

test("readers that don't read cost 256 KiB each at most, and others are served", { timeout: 60_000 }, async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const senders: Socket[] = [];
  const payload = Buffer.alloc(EACH);
  let finished = 0;
  const port = await startServer(APPLICATION, (socket) => {
    socket.once("data", (first) => {
      socket.write(first);
      socket.once("data", () => {
        senders.push(socket);
        socket.write(payload, () => finished++);
      });
    });
  });
  const { child } = await startProxyProgram(mesh, workload, { ...bindIngress(PROXY, APPLICATION, port) });
  const pid = child.pid ?? 0;
  const readers: Socket[] = [];
  for (let i = 0; i < READERS; i++) {
    const reader = connectSecurely(mesh, workload, { host: PROXY, port });
    await ping(reader);
    readers.push(reader.pause());
  }
  const idle = residentMemory(pid);
  for (const reader of readers) reader.write("go");
  const pending = (): number => senders.reduce((sum, { writableLength }) => sum + writableLength, 0);
  // Until nothing moves any more.
  let before = -1;
  await expect
    .poll(
      () => {
        const isStill = senders.length === READERS && pending() === before;
        before = pending();
        return isStill;
      },
      { timeout: 20_000, interval: 500 },
    )
    .toBe(true);
  expect(finished).toBe(0);
  expect(residentMemory(pid) - idle).toBeLessThan(READERS * MOST_PER_DIRECTION + SLACK);
  await ping(connectSecurely(mesh, workload, { host: PROXY, port }));

  const [reader] = readers;
  let received = 0;
  reader?.on("data", (chunk) => (received += chunk.length)).resume();
  // The kernels go slowly at first, after a window that was closed for so long.
  await expect.poll(() => received, { timeout: 30_000 }).toBe(EACH);
});
