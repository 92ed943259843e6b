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
import { LONGEST_PIECE, READ_AHEAD } from "../read-ahead.ts";

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

/** @param count is told of the bytes as they come */
function pumping(source: Socket, sink: Socket, count: (bytes: number) => void): Pump {
  let up = 0;
  const carried = {
    get up() {
      return up;
    },
    set up(now: number) {
      count(now - up);
      up = now;
    },
    down: 0,
  };
  const store = { isShort: false, holds(): void {} };
  const pump = new Pump({ source, sink, carried, flow: "up", store, refused: () => {} });
  source.once("end", () => pump.finish(() => sink.end()));
  return pump;
}

/** `told` hears of each write to the socket. */
function watched(sink: Socket, told: (bytes: Buffer) => void): Socket {
  const write = sink.write.bind(sink);
  sink.write = (bytes: Buffer, ...others: []) => {
    told(bytes);
    return write(bytes, ...others);
  };
  return sink;
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
  let count = 0;
  pumping(source, sink, (length) => (count += length));
  source.resume();
  expect(sha256Hex(await readAll(receiver))).toBe(sha256Hex(bytes));
  expect(count).toBe(bytes.length);
});

test("pieces of every size around a record and the longest piece arrive in order, on many connections at once", async () => {
  const sizes = [
    1,
    100,
    16_383,
    16_384,
    16_385,
    32_768,
    LONGEST_PIECE - 1,
    LONGEST_PIECE,
    LONGEST_PIECE + 1,
    3 * LONGEST_PIECE,
  ];
  const one = async (from: Kind, to: Kind): Promise<void> => {
    const { sender, source, sink, receiver } = await pumped(from, to);
    pumping(source, sink, () => {});
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

test.each<[Kind, Kind]>([
  ["plain", "TLS"],
  ["TLS", "plain"],
])("from %s to %s a small message is passed on in the turn that it comes in", async (from, to) => {
  const { sender, source, sink } = await pumped(from, to);
  let turns = 0;
  const passed = Promise.withResolvers<number>();
  const told = (): void => passed.resolve(turns);
  pumping(source, watched(sink, told), () => setImmediate(() => turns++));
  source.resume();
  sender.write("hello");
  expect(await passed.promise).toBe(0);
});

test.each<[Kind, Kind, number]>([
  ["plain", "TLS", 64_000],
  ["TLS", "plain", 64_000],
  ["TLS", "plain", 1],
])("from %s to %s, in pieces of %i, 256 KiB wait for a reader that does not read", async (from, to, size) => {
  const { sender, source, sink, receiver } = await pumped(from, to);
  receiver.pause();
  let count = 0;
  let overhead = 0;
  let most = 0;
  let mostAhead = 0;
  const taken = takenByKernel(sink);
  const told = ({ length }: Buffer): void => void (overhead += to === "TLS" ? 22 * Math.ceil(length / 16_384) : 0);
  // All that the proxy has read and the kernel has not taken.
  const look = (): void => {
    most = Math.max(most, count - (taken() - overhead) + source.readableLength);
    mostAhead = Math.max(mostAhead, source.readableLength);
  };
  const pump = pumping(source, watched(sink, told), (length) => {
    count += length;
    setImmediate(look);
  });
  source.resume();
  const bytes = randomBytes(size === 1 ? 20_000_000 : 40_000_000);
  // The kernels' buffers are filled by large pieces, so that the small ones are left with the proxy.
  if (size === 1) sender.write(bytes.subarray(0, -200_000));
  for (let at = size === 1 ? bytes.length - 200_000 : 0; at < bytes.length; at += size)
    sender.write(bytes.subarray(at, at + size));
  sender.end();
  await stands(() => count);
  expect(count).toBeLessThan(bytes.length);
  look();
  expect(most).toBeGreaterThan(0);
  expect(mostAhead).toBeLessThanOrEqual(LONGEST_PIECE);
  expect(pump.waiting).toBeGreaterThan(0);
  expect(pump.waiting).toBeLessThanOrEqual(256 * 1024);
  expect(most).toBeLessThanOrEqual(256 * 1024);
  expect(sha256Hex(await readAll(receiver))).toBe(sha256Hex(bytes));
  expect(most).toBeLessThanOrEqual(256 * 1024);
  expect(count).toBe(bytes.length);
  expect(pump.waiting).toBe(0);
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

/** @returns how many bytes the kernel has taken from the socket since now, those that TLS adds among them */
function takenByKernel(socket: Socket): () => number {
  interface Internals {
    readonly _parent?: Internals;
    readonly _handle: { readonly bytesWritten: number; readonly writeQueueSize: number };
  }
  const own = socket as unknown as Internals;
  const { _handle: handle } = own._parent ?? own;
  const taken = (): number => handle.bytesWritten - handle.writeQueueSize;
  const before = taken();
  return () => taken() - before;
}
