import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { loadSocketOption } from "../streams/socket-option.ts";
import { memoryInUse, socketMemory } from "./memory-in-use.ts";

test("in a group of version 2 sockets are memory in use, and what can be taken back is not", () => {
  const stat =
    "anon 1000\nfile 9000000\nkernel_stack 20\nslab_reclaimable 700000\nslab_unreclaimable 300\nsock 4000000\n";
  const files: Readonly<Record<string, string>> = {
    "/proc/self/cgroup": "0::/kubepods/pod1\n",
    "/sys/fs/cgroup/kubepods/pod1/memory.stat": stat,
  };
  expect(memoryInUse({ read: (path) => files[path] })).toBe(4_001_320);
  // As a container sees it.
  expect(memoryInUse({ read: (path) => (path === "/sys/fs/cgroup/memory.stat" ? stat : undefined) })).toBe(4_001_320);
});

test("version 1 does not count sockets in, and without a group there is nothing to count", () => {
  expect(
    memoryInUse({ read: (path) => (path.endsWith("memory.stat") ? "cache 1\nrss 2\n" : undefined) }),
  ).toBeUndefined();
  expect(memoryInUse({ read: () => undefined })).toBeUndefined();
});

test("the kernel says what it holds of bytes that nobody reads", async () => {
  const memoryOf = socketMemory(await loadSocketOption());
  const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [accepted] = (await once(server, "connection")) as [Socket];
  onTestFinished(() => {
    for (const each of [client, accepted]) each.destroy();
    server.close();
  });
  const before = memoryOf(client) + memoryOf(accepted);
  client.write(Buffer.alloc(8 * 1024 * 1024));
  await expect.poll(() => memoryOf(client) + memoryOf(accepted) - before).toBeGreaterThan(256 * 1024);
  client.destroy();
  await once(client, "close");
  expect(memoryOf(client)).toBe(0);
});
