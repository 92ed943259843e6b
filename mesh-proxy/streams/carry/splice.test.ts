import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { sha256Hex } from "../../../bytes/sha256.ts";
import { ending, readAll } from "../../../test/mesh-proxies.ts";
import type { Carried } from "../../observe/metrics.ts";
import type { ConnectionFault } from "../fault.ts";
import { askKernel } from "../kernel.ts";
import { HeldBytes } from "../limits/held-bytes.ts";
import { type Legs, plainLeg, reset } from "../leg.ts";
import { Splicer } from "./splicer.ts";

const splicer = new Splicer((await askKernel()).lookAt, { lookMs: 100, stalledMs: 500 });
const heldBytes = new HeldBytes({ total: Infinity, perSource: Infinity });

/** The two ends of a TCP connection. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, "127.72.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const one = connect({ host: "127.72.0.1", port, allowHalfOpen: true });
  const [other] = (await once(server, "connection")) as [Socket];
  server.close();
  for (const socket of [one, other]) socket.on("error", () => {});
  onTestFinished(() => {
    one.destroy();
    other.destroy();
  });
  return [one, other];
}

/** @returns when both have ended; throws where one broke */
async function splice(legs: Legs, carried: Carried = { up: 0, down: 0 }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ended = (error?: ConnectionFault): void => (error === undefined ? resolve() : reject(error));
  expect(splicer.join(legs, { carried, ended, heldBytes, source: "" }).waiting).toBe(0);
  return promise;
}

/** What a socket has received so far, and how it ends: with the code of an error, or "clean" at the end of the other's direction. */
function readWhatComes(socket: Socket): { readonly bytes: () => Buffer; readonly end: Promise<string> } {
  const chunks: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  socket.on("end", () => resolve("clean"));
  return { bytes: () => Buffer.concat(chunks), end: promise };
}

/** Two peers, and the proxy's sockets between them. */
async function spliced(): Promise<{
  client: Socket;
  server: Socket;
  downstream: Socket;
  upstream: Socket;
  carried: Carried;
  end: Promise<string>;
}> {
  const [client, downstream] = await pair();
  const [server, upstream] = await pair();
  const carried = { up: 0, down: 0 };
  const end = splice({ downstream: plainLeg(downstream), upstream: plainLeg(upstream) }, carried).then(
    () => "clean",
    (error: ConnectionFault) => error.code,
  );
  return { client, server, downstream, upstream, carried, end };
}

test("each direction ends by itself, with all its bytes", async () => {
  const { client, server, end } = await spliced();
  const request = randomBytes(12_000_000);
  const response = randomBytes(13_000_000);
  client.end(request);
  expect(sha256Hex(await readAll(server))).toBe(sha256Hex(request));
  // The client has ended its direction and is still being answered.
  server.end(response);
  expect(sha256Hex(await readAll(client))).toBe(sha256Hex(response));
  expect(await end).toBe("clean");
});

test("the server may end its direction first", async () => {
  const { client, server, end } = await spliced();
  server.end("greeting");
  expect(String(await readAll(client))).toBe("greeting");
  client.end("answer");
  expect(String(await readAll(server))).toBe("answer");
  expect(await end).toBe("clean");
});

test("a direction that had ended before the splice is ended", async () => {
  const [client, downstream] = await pair();
  const [server, upstream] = await pair();
  client.end();
  downstream.resume();
  await once(downstream, "end");
  const end = splice({ downstream: plainLeg(downstream), upstream: plainLeg(upstream) });
  expect(await readAll(server)).toHaveLength(0);
  server.end();
  await end;
});

test("what went each way is counted, also where it breaks", async () => {
  const { client, server, carried, end } = await spliced();
  client.write("request");
  await once(server, "data");
  server.write("answer");
  await once(client, "data");
  server.resetAndDestroy();
  expect(await end).toBe("connection_broken");
  expect(carried).toEqual({ up: 7, down: 6 });
});

test.each(["client", "server"] as const)("a reset by the %s reaches the other side as a reset", async (who) => {
  const peers = await spliced();
  const other = peers[who === "client" ? "server" : "client"];
  other.write("x");
  peers[who].once("data", () => peers[who].resetAndDestroy());
  expect(await ending(other)).toBe("ECONNRESET");
  expect(await peers.end).toBe("connection_broken");
});

test("what a server said before it went away still arrives", async () => {
  const { client, server, upstream, end } = await spliced();
  const response = randomBytes(1_000_000);
  server.end(response);
  await expect.poll(() => upstream.readableEnded).toBe(true);
  server.resetAndDestroy();
  // The client has not read yet, and writes to a server that is gone.
  client.write("more");
  expect(await end).toBe("connection_broken");
  expect(sha256Hex(await readAll(client))).toBe(sha256Hex(response));
});

test.each(["a reset", "an end, and then a reset"])(
  "an answer to somebody who is still sending arrives where the server closes with %s",
  async (how) => {
    const { client, server, end } = await spliced();
    const answer = randomBytes(50_000);
    const received = readWhatComes(client);
    server.once("data", () => {
      server.pause();
      // What it has not read makes its kernel send a reset.
      if (how === "a reset") server.write(answer, () => server.destroy());
      else server.end(answer, () => server.destroy());
    });
    let isSending = true;
    const send = (error?: Error | null): void => {
      if (isSending && !error) client.write(Buffer.alloc(100_000), send);
    };
    send();
    await expect.poll(() => received.bytes().length).toBe(answer.length);
    expect(received.bytes().equals(answer)).toBe(true);
    isSending = false;
    expect(await received.end).toBe(how === "a reset" ? "ECONNRESET" : "clean");
    client.destroy();
    expect(await end).toBe("connection_broken");
  },
);

test("a server that breaks in the midst of a long answer to a slow reader is a reset for it, after all that came", async () => {
  const { client, server, end } = await spliced();
  const part = randomBytes(1_000_000);
  client.pause();
  server.write(part, () => server.resetAndDestroy());
  // The kernel of the server has forgotten what it had not sent.
  await once(server, "close");
  const received = readWhatComes(client);
  client.resume();
  expect(await received.end).toBe("ECONNRESET");
  expect(part.subarray(0, received.bytes().length).equals(received.bytes())).toBe(true);
  expect(received.bytes().length).toBeGreaterThan(0);
  expect(await end).toBe("connection_broken");
});

test("a client that has ended its direction and is then gone ends both", async () => {
  const { client, server, upstream, end } = await spliced();
  client.end("the last word");
  expect(String(await readAll(server))).toBe("the last word");
  client.resetAndDestroy();
  expect(await end).toBe("connection_broken");
  await expect.poll(() => upstream.destroyed).toBe(true);
  server.write("x");
  expect(await ending(server)).toBe("EPIPE");
});

test("a client that is gone while the server reads nothing ends both", async () => {
  const { client, server, upstream, end } = await spliced();
  server.pause();
  client.write(Buffer.alloc(30_000_000));
  await expect.poll(() => upstream.writableLength).toBeGreaterThan(0);
  await sleep(200);
  client.resetAndDestroy();
  expect(await end).toBe("connection_broken");
  await expect.poll(() => upstream.destroyed).toBe(true);
});

test("who has ended its direction and is still there is waited for", async () => {
  const { client, server, end } = await spliced();
  client.end("request");
  expect(String(await readAll(server))).toBe("request");
  // Longer than anything takes after which a peer that is gone is given up.
  await sleep(1_500);
  server.end("answer");
  expect(String(await readAll(client))).toBe("answer");
  expect(await end).toBe("clean");
});

test("a connection that is already gone resets the other one", async () => {
  const [, downstream] = await pair();
  const [server, upstream] = await pair();
  downstream.destroy();
  await expect(splice({ downstream: plainLeg(downstream), upstream: plainLeg(upstream) })).rejects.toThrow(
    "connection_broken",
  );
  expect(await ending(server)).toBe("ECONNRESET");
});

test("a connection can be reset while it is ending", async () => {
  const [client, downstream] = await pair();
  downstream.end("x");
  await expect.poll(() => downstream.writableLength).toBe(0);
  reset(plainLeg(downstream));
  await once(downstream, "close");
  expect(String(await readAll(client))).toBe("x");
});
