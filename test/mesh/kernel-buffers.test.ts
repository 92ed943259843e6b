import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { askKernel } from "../../mesh-proxy/streams/kernel.ts";
import { createMesh } from "../../pki/test-mesh.ts";
import { connectPlain, ending, refusals, startLiveProxy, startServer } from "../mesh-proxies.ts";
import { ping } from "./traffic.ts";

const PROXY = "127.76.20.1";
const APPLICATION = "127.76.20.2";
const MIB = 1024 * 1024;
const LIMIT = 256 * MIB;
/** What is in use for other things. At seven eighths of the limit there is no room left. */
const OTHERS = 220 * MIB;

test("where the kernel counts what waits in sockets, readers that don't read are reset before the memory is gone", async () => {
  const mesh = await createMesh();
  const { bytesHeld } = await askKernel();
  const clients: Socket[] = [];
  // What waits between proxy and client, in the place of the kernel's sum of both ends of the proxy.
  const inSockets = (): number => clients.reduce((sum, socket) => sum + bytesHeld(socket), 0);
  const body = Buffer.alloc(MIB);
  const port = await startServer(APPLICATION, (socket) => {
    socket.once("data", (first) => {
      if (first.toString() === "ping") socket.write(first);
      else for (let i = 0; i < 8; i++) socket.write(body);
    });
  });
  const { lines } = await startLiveProxy(
    mesh,
    await mesh.issue(),
    {
      CONTRAST_INGRESS_PROXY_CONFIG: `app#${port}#true`,
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: PROXY,
      CONTRAST_INGRESS_TARGET: APPLICATION,
      CONTRAST_MEMORY_LIMIT: `${LIMIT}`,
    },
    { memoryInUse: () => OTHERS + inSockets() },
  );
  const ends: Promise<string>[] = [];
  for (let i = 0; i < 60 && refusals(lines).length === 0; i++) {
    const client = connectPlain(PROXY, port, "127.76.20.3");
    client.pause().write("much");
    clients.push(client);
    await sleep(50);
  }
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "too_many_bytes_waiting" }]);
  expect(inSockets()).toBeLessThan(64 * MIB);
  for (const client of clients) ends.push(ending(client));
  expect(await Promise.race(ends)).toBe("ECONNRESET");
  await ping(connectPlain(PROXY, port, "127.76.20.4"));
});
