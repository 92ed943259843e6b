import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { askKernel } from "./kernel.ts";

test("the kernel says what it holds of bytes that nobody reads", async () => {
  const { bytesHeld, lookAt } = await askKernel();
  const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [accepted] = (await once(server, "connection")) as [Socket];
  onTestFinished(() => {
    for (const each of [client, accepted]) each.destroy();
    server.close();
  });
  const before = bytesHeld(client) + bytesHeld(accepted);
  client.write(Buffer.alloc(8 * 1024 * 1024));
  await expect.poll(() => bytesHeld(client) + bytesHeld(accepted) - before).toBeGreaterThan(256 * 1024);
  client.destroy();
  await once(client, "close");
  expect([bytesHeld(client), lookAt(client)]).toEqual([0, undefined]);
});
