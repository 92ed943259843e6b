import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { ending, readAll } from "../test/mesh-proxies.ts";
import { carryOver, WAYS } from "../test/ways.ts";
import type { MeshProxyError } from "./errors.ts";
import { type Legs, plainLeg, reset } from "./leg.ts";
import type { Carried } from "./pump.ts";
import { Splice } from "./splice.ts";

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
  const ended = (error?: MeshProxyError): void => (error === undefined ? resolve() : reject(error));
  expect(new Splice(legs, { carried, ended }).waiting).toBe(0);
  return promise;
}

/** Two peers, and the proxy's sockets between them. */
async function spliced(): Promise<{
  client: Socket;
  server: Socket;
  near: Socket;
  far: Socket;
  carried: Carried;
  end: Promise<string>;
}> {
  const [client, near] = await pair();
  const [server, far] = await pair();
  const carried = { up: 0, down: 0 };
  const end = splice({ near: plainLeg(near), far: plainLeg(far) }, carried).then(
    () => "clean",
    (error: MeshProxyError) => error.code,
  );
  return { client, server, near, far, carried, end };
}

describe.each(WAYS)("by %s", (way) => {
  beforeAll(async () => carryOver(way));

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
    const [client, near] = await pair();
    const [server, far] = await pair();
    client.end();
    near.resume();
    await once(near, "end");
    const end = splice({ near: plainLeg(near), far: plainLeg(far) });
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
    const { client, server, far, end } = await spliced();
    const response = randomBytes(1_000_000);
    server.end(response);
    await expect.poll(() => far.readableEnded).toBe(true);
    server.resetAndDestroy();
    // The client has not read yet, and writes to a server that is gone.
    client.write("more");
    expect(await end).toBe("connection_broken");
    expect(sha256Hex(await readAll(client))).toBe(sha256Hex(response));
  });

  test("a connection that is already gone resets the other one", async () => {
    const [, near] = await pair();
    const [server, far] = await pair();
    near.destroy();
    await expect(splice({ near: plainLeg(near), far: plainLeg(far) })).rejects.toThrow(
      "the connection to the client broke",
    );
    expect(await ending(server)).toBe("ECONNRESET");
  });

  test("a connection can be reset while it is ending", async () => {
    const [client, near] = await pair();
    near.end("x");
    await expect.poll(() => near.writableLength).toBe(0);
    reset(plainLeg(near));
    await once(near, "close");
    expect(String(await readAll(client))).toBe("x");
  });
});
