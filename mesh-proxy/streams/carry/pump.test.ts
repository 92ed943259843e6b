import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { getDefaultHighWaterMark, setDefaultHighWaterMark } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { sha256Hex } from "../../../bytes/sha256.ts";
import { readAll } from "../../../test/mesh-proxies.ts";
import { Pump } from "./pump.ts";
import type { Carried } from "../../observe/metrics.ts";
import { plainLeg } from "../leg.ts";
import { READ_AHEAD } from "../tcp.ts";

type Kind = "plain" | "TLS";

/** The two ends of a connection; the second one is the proxy's. */
async function pair(kind: Kind): Promise<[Socket, Socket]> {
  const psk = randomBytes(32);
  const common = { minVersion: "TLSv1.3", allowHalfOpen: true } as const;
  const server: Server =
    kind === "TLS"
      ? createTlsServer({ ...common, pskCallback: () => psk })
      : createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, "127.72.0.2");
  await once(server, "listening");
  const accepted = once(server, kind === "TLS" ? "secureConnection" : "connection");
  const to = { host: "127.72.0.2", port: (server.address() as AddressInfo).port };
  const client = {
    ...common,
    ...to,
    pskCallback: () => ({ psk, identity: "test" }),
    checkServerIdentity: () => undefined,
  };
  const one = kind === "TLS" ? connectTls(client) : connect(client);
  const [other] = (await accepted) as [Socket];
  server.close();
  for (const socket of [one, other]) {
    socket.on("error", () => {});
    onTestFinished(() => void socket.destroy());
  }
  return [one, other];
}

/** As the sockets of the proxy have it. */
const mark = getDefaultHighWaterMark(false);
beforeAll(() => setDefaultHighWaterMark(false, READ_AHEAD));
afterAll(() => setDefaultHighWaterMark(false, mark));

/** @param changed is called when what waits has changed */
function pumping(source: Socket, sink: Socket, changed: () => void = () => {}): { pump: Pump; carried: Carried } {
  const carried = { up: 0, down: 0 };
  const pump = new Pump({ source: plainLeg(source), sink: plainLeg(sink), carried, flow: "up", changed });
  source.once("end", () => pump.finish(() => sink.end()));
  return { pump, carried };
}

async function pumped(from: Kind, to: Kind): Promise<Record<"sender" | "source" | "sink" | "receiver", Socket>> {
  const [sender, source] = await pair(from);
  const [receiver, sink] = await pair(to);
  return { sender, source, sink, receiver };
}

test.each<[Kind, Kind]>([
  ["plain", "plain"],
  ["plain", "TLS"],
  ["TLS", "plain"],
  ["TLS", "TLS"],
])("from %s to %s all bytes arrive, also those that came before", async (from, to) => {
  const { sender, source, sink, receiver } = await pumped(from, to);
  const bytes = randomBytes(20_000_000);
  sender.end(bytes);
  // TLS has decrypted and kept some of them by then.
  await expect.poll(() => from === "plain" || source.readableLength > 0).toBe(true);
  const { carried } = pumping(source, sink);
  source.resume();
  expect(sha256Hex(await readAll(receiver))).toBe(sha256Hex(bytes));
  expect(carried.up).toBe(bytes.length);
});

test("pieces of every size around a record and the longest piece of libuv arrive in order, on many connections at once", async () => {
  const sizes = [1, 100, 16_383, 16_384, 16_385, 32_768, 65_535, 65_536, 65_537, 196_608];
  const one = async (from: Kind, to: Kind): Promise<void> => {
    const { sender, source, sink, receiver } = await pumped(from, to);
    pumping(source, sink);
    source.resume();
    const bytes = randomBytes(sizes.reduce((sum, size) => sum + size));
    const all = readAll(receiver);
    let at = 0;
    for (const size of sizes) {
      sender.write(bytes.subarray(at, (at += size)));
      await new Promise(setImmediate);
    }
    sender.end();
    expect(sha256Hex(await all)).toBe(sha256Hex(bytes));
  };
  await Promise.all(Array.from({ length: 24 }, async (_, i) => one(i % 2 ? "TLS" : "plain", i % 3 ? "TLS" : "plain")));
});

test.each<[Kind, Kind, number]>([
  ["plain", "TLS", 64_000],
  ["TLS", "plain", 64_000],
  ["TLS", "plain", 1],
])("from %s to %s, in pieces of %i, 256 KiB wait for a reader that does not read", async (from, to, size) => {
  const { sender, source, sink, receiver } = await pumped(from, to);
  receiver.pause();
  let most = 0;
  const { pump, carried } = pumping(source, sink, () => {
    most = Math.max(most, pump.held);
    setImmediate(() => (most = Math.max(most, pump.held)));
  });
  source.resume();
  const bytes = randomBytes(size === 1 ? 20_000_000 : 40_000_000);
  // The kernels' buffers are filled by large pieces, so that the small ones are left with the proxy.
  if (size === 1) sender.write(bytes.subarray(0, -200_000));
  for (let at = size === 1 ? bytes.length - 200_000 : 0; at < bytes.length; at += size)
    sender.write(bytes.subarray(at, at + size));
  sender.end();
  await stands(() => carried.up);
  expect(carried.up).toBeLessThan(bytes.length);
  expect(pump.waiting).toBeGreaterThan(0);
  expect(pump.held).toBeGreaterThanOrEqual(pump.waiting);
  expect(sha256Hex(await readAll(receiver))).toBe(sha256Hex(bytes));
  expect(most).toBeLessThanOrEqual(256 * 1024);
  expect(carried.up).toBe(bytes.length);
  expect([pump.waiting, pump.held]).toEqual([0, 0]);
});

/** Waits until what has begun to be counted is counted no more. */
async function stands(count: () => number): Promise<void> {
  await expect.poll(count).toBeGreaterThan(0);
  let before: number;
  do {
    before = count();
    await sleep(300);
  } while (count() !== before);
}
