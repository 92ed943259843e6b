import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { expect, onTestFinished, test } from "vitest";
import { freePort, startServer } from "../../test/mesh-proxies.ts";
import { blackHole } from "../../test/mesh/black-hole.ts";
import { dial } from "./dial.ts";
import { Names } from "../names.ts";

const HERE = "127.71.0.1";
const OTHER = "127.71.0.2";

/** A connection that something is dialed for. */
async function downstream(): Promise<Socket> {
  const server = createServer().listen(0, HERE);
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, HERE);
  onTestFinished(() => {
    socket.destroy();
    server.close();
  });
  await once(socket, "connect");
  return socket;
}

async function dialed(addresses: readonly string[], port: number): Promise<string | undefined> {
  const answer = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  const names = new Names(
    async () => answer,
    () => new Date(0),
  );
  const socket = await dial({ host: "db", port }, await downstream(), names);
  onTestFinished(() => void socket.destroy());
  return socket.remoteAddress;
}

test("the first address is taken", async () => {
  const port = await startServer("0.0.0.0", () => {});
  expect(await dialed([OTHER, HERE], port)).toBe(OTHER);
});

test("where the first address refuses, the next one is taken", async () => {
  const port = await startServer(HERE, () => {});
  expect(await dialed([OTHER, "127.71.0.3", HERE], port)).toBe(HERE);
});

test("where the first address does not answer, the next one is taken within a second", async () => {
  const port = await blackHole(OTHER);
  const server = createServer().listen(port, HERE);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const start = performance.now();
  expect(await dialed([OTHER, HERE], port)).toBe(HERE);
  expect(performance.now() - start).toBeLessThan(1_000);
});

const NO_IPV6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1"),
)
  ? undefined
  : "this machine has no IPv6";

test.skipIf(NO_IPV6 !== undefined)(`the other family is tried second (${NO_IPV6 ?? "IPv6 is there"})`, async () => {
  const port = await startServer("::1", () => {});
  expect(await dialed([OTHER, HERE, "::1"], port)).toBe("::1");
});

test("where every address refuses, the connection is refused", async () => {
  const port = await freePort(HERE);
  await expect(dialed([HERE, OTHER], port)).rejects.toMatchObject({ code: "upstream_refused", got: "ECONNREFUSED" });
});

test("a name without an address is refused", async () => {
  await expect(dialed([], 1)).rejects.toMatchObject({ code: "upstream_refused" });
});

test("when the client goes away nothing is dialed any more", async () => {
  const port = await blackHole(OTHER);
  const names = new Names(
    async () => [{ address: OTHER, family: 4 }],
    () => new Date(0),
  );
  const client = await downstream();
  const dialing = dial({ host: "db", port }, client, names);
  client.destroy();
  await expect(dialing).rejects.toMatchObject({ code: "client_gone" });
});
