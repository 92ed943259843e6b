import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { listenOnMany } from "./listeners.ts";

const ADDRESS = "127.92.1.1";
const CROWD = 500;

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function crowd(port: number): Promise<Socket[]> {
  const sockets = Array.from({ length: CROWD }, () => connect(port, ADDRESS));
  ends.push(() => sockets.forEach((socket) => socket.destroy()));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  return sockets;
}

/** In how many rounds of the event loop a crowd is accepted that has connected while nobody looked. */
test("a crowd is accepted many in a round, each once", async () => {
  const accepted: Socket[] = [];
  const rounds = new Set<number>();
  let round = 0;
  const count = (): void => {
    round += 1;
    timer = setImmediate(count);
  };
  let timer = setImmediate(count);
  const listeners = await listenOnMany({ port: 0, host: ADDRESS }, {}, (socket) => {
    accepted.push(socket);
    rounds.add(round);
  });
  ends.push(
    () => clearImmediate(timer),
    () => accepted.forEach((socket) => socket.destroy()),
    () => void listeners.close(),
  );
  await crowd(listeners.port);
  await expect.poll(() => accepted.length).toBe(CROWD);
  expect(rounds.size).toBeLessThan(CROWD / 2);
});

test.each([true, false])(
  "a port that somebody else has is taken, also by one who would share it: %s",
  async (reusePort) => {
    const other = createServer();
    ends.push(() => other.close());
    other.listen({ port: 0, host: ADDRESS, reusePort });
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    await expect(listenOnMany({ port, host: ADDRESS }, {}, () => undefined)).rejects.toMatchObject({
      code: "EADDRINUSE",
    });
  },
);

test("closed, nobody is accepted, and those who are there may end in peace", async () => {
  const accepted: Socket[] = [];
  const listeners = await listenOnMany({ port: 0, host: ADDRESS }, {}, (socket) => accepted.push(socket));
  const socket = connect(listeners.port, ADDRESS);
  await once(socket, "connect");
  await expect.poll(() => accepted.length).toBe(1);
  let isClosed = false;
  const closing = listeners.close().then(() => (isClosed = true));
  const late = connect(listeners.port, ADDRESS);
  expect(((await once(late, "error").catch((error: unknown) => [error])) as [{ code: string }])[0].code).toBe(
    "ECONNREFUSED",
  );
  expect(isClosed).toBe(false);
  socket.destroy();
  accepted[0]?.destroy();
  await closing;
});
