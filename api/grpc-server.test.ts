import { status } from "@grpc/grpc-js";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from "node:http2";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { Budget } from "../runtime/budget.ts";
import { type Call, type CallLimits, type CallServer, type Method, serveCalls } from "./grpc-server.ts";
import { Refusal } from "./refusal.ts";

/** Real connections to a server of one method, and what gRPC leaves to its callers: frames, pieces and no end. */

const ADDRESS = "127.92.0.1";
const PATH = "/test.Test/Call";
const KIB = 1024;

interface Setting {
  readonly answer?: (request: Buffer, call: Call) => Promise<Uint8Array>;
  readonly method?: Partial<Method>;
  readonly limits?: Partial<CallLimits>;
}

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function start({ answer = async (request) => request, method, limits }: Setting = {}) {
  const budget = new Budget({ total: 256 * KIB, perSource: 64 * KIB });
  const turns: boolean[] = [];
  const methods = new Map([
    [
      PATH,
      {
        refuseLarge: () => undefined,
        answer: async (request: Buffer, call: Call) => ({
          status: { code: status.OK },
          message: await answer(request, call),
        }),
        ...method,
      },
    ],
  ]);
  const served: { calls: CallServer; socket: Socket }[] = [];
  const server = createServer((socket) => {
    const calls = serveCalls(socket, methods, {
      requestMs: 500,
      idleMs: 30_000,
      ageMs: 60_000,
      requestBytes: 128 * KIB,
      reserve(bytes) {
        const taken = budget.reserve("peer", bytes);
        return taken && (() => taken.release());
      },
      toStatus: (error) => ({
        code: error instanceof Refusal ? status.PERMISSION_DENIED : status.INTERNAL,
        details: error instanceof Refusal ? error.code : String(error),
      }),
      onTurn: (isOurs) => turns.push(isOurs),
      ...limits,
    });
    served.push({ calls, socket });
  });
  server.listen(0, ADDRESS);
  await once(server, "listening");
  ends.push(() => server.close());
  const session = connectHttp2(`http://${ADDRESS}:${(server.address() as AddressInfo).port}`);
  session.on("error", () => undefined);
  ends.push(() => session.destroy());
  await once(session, "connect");
  return { session, budget, turns, served };
}

function begin(session: ClientHttp2Session, headers: Record<string, string> = {}): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": PATH,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => undefined);
  return stream;
}

interface Outcome {
  readonly code: number | undefined;
  readonly message: string;
  readonly bytes: Buffer;
}

function outcome(stream: ClientHttp2Stream): Promise<Outcome> {
  let [code, message]: [number | undefined, string] = [undefined, ""];
  const pieces: Buffer[] = [];
  const look = (headers: Record<string, unknown>): void => {
    if (headers["grpc-status"] === undefined) return;
    code = Number(headers["grpc-status"]);
    message = decodeURI(String(headers["grpc-message"]));
  };
  stream.on("response", look);
  stream.on("trailers", look);
  stream.on("data", (piece: Buffer) => pieces.push(piece));
  return new Promise((resolve) => {
    stream.on("close", () => resolve({ code, message, bytes: Buffer.concat(pieces) }));
  });
}

function framed(bytes: Buffer, length = bytes.length, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, bytes]);
}

async function callWith(
  session: ClientHttp2Session,
  body: Buffer,
  headers: Record<string, string> = {},
): Promise<Outcome> {
  const stream = begin(session, headers);
  const ended = outcome(stream);
  stream.end(body);
  return ended;
}

test.each([0, 1, 4096, 60_000])("a message of %d bytes comes and goes as it is", async (length) => {
  const { session, budget } = await start();
  const bytes = Buffer.alloc(length, 7);
  expect(await callWith(session, framed(bytes))).toEqual({ code: status.OK, message: "", bytes: framed(bytes) });
  expect(budget.used).toBe(0);
});

test("an answer of many pieces is whole, and a request that comes byte by byte too", async () => {
  const answer = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index & 0xff));
  const { session } = await start({
    answer: async (request) => (request.equals(Buffer.from("abc")) ? answer : request),
  });
  const stream = begin(session);
  const ended = outcome(stream);
  for (const byte of framed(Buffer.from("abc"))) await new Promise((resolve) => stream.write(Buffer.of(byte), resolve));
  stream.end();
  expect((await ended).bytes.equals(framed(answer))).toBe(true);
});

const bomb = gzipSync(Buffer.alloc(4 * KIB * KIB));
test("a large answer that was made for its caller takes room until it is read, and is refused beyond; a shared one is not", async () => {
  // More than the window of a stream, so that it waits for its reader.
  const message = Buffer.alloc(120 * KIB, 7);
  const budget = new Budget({ total: 400 * KIB, perSource: 200 * KIB });
  const reserve = (bytes: number): (() => void) | undefined => {
    const taken = budget.reserve("peer", bytes);
    return taken && (() => taken.release());
  };
  let isOwn = true;
  const { session } = await start({
    limits: { reserve },
    method: { answer: async () => ({ status: { code: status.OK }, message, isOwn }) },
  });
  const ask = (): ClientHttp2Stream => {
    const stream = begin(session);
    stream.end(framed(Buffer.of(1)));
    return stream;
  };
  const first = ask();
  first.pause();
  await once(first, "response");
  expect(budget.used).toBe(message.length);
  // Of the 200 KiB of one source.
  expect(await outcome(ask())).toMatchObject({ code: status.PERMISSION_DENIED, message: "overloaded" });
  isOwn = false;
  expect((await outcome(ask())).code).toBe(status.OK);
  expect(budget.used).toBe(message.length);
  const read = outcome(first);
  first.resume();
  expect((await read).bytes).toHaveLength(5 + message.length);
  expect(budget.used).toBe(0);
  isOwn = true;
  expect((await outcome(ask())).code).toBe(status.OK);
});

test.each([
  ["a header that says so", bomb, { "grpc-encoding": "gzip" }, 1],
  ["a header that says so, and a message that does not", Buffer.alloc(8), { "grpc-encoding": "deflate" }, 0],
  ["a message that says so", bomb, {}, 1],
])("compression is refused by %s", async (_name, bytes, headers, flag) => {
  const { session } = await start();
  const { code, message } = await callWith(session, framed(bytes, bytes.length, flag), headers);
  expect([code, message]).toEqual([status.UNIMPLEMENTED, "compressed messages are not taken"]);
});

test.each([
  ["a method that is not there", { ":path": "/test.Test/Other" }, status.UNIMPLEMENTED],
  ["no POST", { ":method": "PUT" }, status.INTERNAL],
  ["no gRPC", { "content-type": "text/plain" }, status.INTERNAL],
])("%s is refused", async (_name, headers, code) => {
  const { session } = await start();
  expect(await callWith(session, framed(Buffer.alloc(1)), headers)).toMatchObject({ code });
});

test.each([
  ["more than one message", Buffer.concat([framed(Buffer.alloc(4)), framed(Buffer.alloc(4))])],
  ["a byte too many", Buffer.concat([framed(Buffer.alloc(4)), Buffer.of(0)])],
  ["a message that ends too early", framed(Buffer.alloc(4), 5)],
  ["no message", Buffer.alloc(0)],
  ["half a length", Buffer.alloc(3)],
])("a request of %s is refused", async (_name, body) => {
  const { session, budget } = await start();
  expect(await callWith(session, body)).toMatchObject({ message: "malformed_request" });
  expect(budget.used).toBe(0);
});

test("a large request is asked about before anything is kept of it, and a small one is not", async () => {
  const refuseLarge = (): { code: number; details: string } => ({
    code: status.PERMISSION_DENIED,
    details: "who are you?",
  });
  const { session, budget } = await start({ method: { refuseLarge } });
  const stream = begin(session);
  const ended = outcome(stream);
  stream.write(framed(Buffer.alloc(0), 4097));
  expect(await ended).toMatchObject({ message: "who are you?" });
  expect(budget.used).toBe(0);
  expect(await callWith(session, framed(Buffer.alloc(4096)))).toMatchObject({ code: status.OK });
});

test("a request that is larger than any may be is refused by its length alone", async () => {
  const { session } = await start();
  const stream = begin(session);
  const ended = outcome(stream);
  stream.write(framed(Buffer.alloc(0), 128 * KIB + 1));
  expect(await ended).toMatchObject({ message: "request_too_large" });
});

test("what a large request will take is taken when it is announced, given back when it ends, and refused beyond", async () => {
  const { session, budget } = await start();
  const first = begin(session);
  first.write(framed(Buffer.alloc(1), 64 * KIB));
  await expect.poll(() => budget.used).toBe(64 * KIB);
  expect(await callWith(session, framed(Buffer.alloc(5000)))).toMatchObject({ message: "overloaded" });
  first.close();
  await expect.poll(() => budget.used).toBe(0);
});

test.each([
  ["says nothing of its request", Buffer.alloc(0)],
  ["stops in the length", Buffer.alloc(3)],
  ["stops in the message", framed(Buffer.alloc(10), 100)],
])("a connection with a call that %s ends, with all its calls", async (_name, body) => {
  const { session, budget } = await start();
  const closed = once(session, "close");
  const begun = performance.now();
  const streams = [begin(session), begin(session)];
  for (const stream of streams) if (body.length > 0) stream.write(body);
  await closed;
  expect(performance.now() - begun).toBeGreaterThan(400);
  expect(budget.used).toBe(0);
});

test("a call whose request is whole and that is not closed is unfinished, too", async () => {
  const { session } = await start();
  const closed = once(session, "close");
  begin(session).write(framed(Buffer.alloc(10)));
  await closed;
});

test("who does not read an answer loses the connection", async () => {
  const { session } = await start({ answer: async () => Buffer.alloc(4 * KIB * KIB) });
  const closed = once(session, "close");
  const stream = begin(session);
  stream.end(framed(Buffer.alloc(1)));
  stream.pause();
  await closed;
});

test("a handler learns that its caller is gone, or waits no longer", async () => {
  const signals: AbortSignal[] = [];
  const answer = (_request: Buffer, { signal }: Call): Promise<Buffer> => {
    signals.push(signal);
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(Buffer.alloc(0))));
  };
  const { session, turns } = await start({ answer });
  const gone = begin(session);
  gone.end(framed(Buffer.alloc(1)));
  await expect.poll(() => turns).toEqual([true]);
  gone.close();
  await expect.poll(() => signals[0]?.reason as unknown).toMatchObject({ code: "deadline_exceeded" });
  await callWith(session, framed(Buffer.alloc(1)), { "grpc-timeout": "50m" });
  expect(signals[1]?.reason).toMatchObject({ code: "deadline_exceeded" });
  expect(turns).toEqual([true, false, true, false]);
});

test("a connection has two calls at once, and an end to all of them", async () => {
  const { session } = await start();
  await callWith(session, framed(Buffer.alloc(1)));
  expect(session.remoteSettings).toMatchObject({ maxConcurrentStreams: 2, maxHeaderListSize: 8192 });
  const closed = once(session, "close");
  let answered = 0;
  for (let index = 0; index < 150; index++) {
    if (session.closed || session.destroyed) break;
    if ((await callWith(session, framed(Buffer.alloc(1)))).code === status.OK) answered += 1;
  }
  expect(answered).toBe(99);
  await closed;
});

test.each([
  ["idle", { idleMs: 200 }],
  ["old", { ageMs: 200 }],
])("a connection that is %s ends", async (_name, limits) => {
  const { session } = await start({ limits });
  await callWith(session, framed(Buffer.alloc(1)));
  await once(session, "close");
});

test("told to close, it answers the calls that it has and takes no others", async () => {
  let finish: (() => void) | undefined;
  const answer = (request: Buffer): Promise<Buffer> => new Promise((resolve) => (finish = () => resolve(request)));
  const { session, served } = await start({ answer });
  const running = callWith(session, framed(Buffer.of(1)));
  await expect.poll(() => finish).toBeDefined();
  const goaway = once(session, "goaway");
  served[0]?.calls.close();
  await goaway;
  finish?.();
  expect(await running).toMatchObject({ code: status.OK });
  await expect.poll(() => session.closed).toBe(true);
});

test("a peer may cancel sixteen calls of a connection, and loses it with one more", async () => {
  const { session } = await start({ answer: () => new Promise<never>(() => undefined) });
  const cancel = async (): Promise<void> => {
    const stream = begin(session);
    const closed = once(stream, "close");
    stream.write(framed(Buffer.alloc(1)));
    // The server has the call when it answers this.
    await new Promise((resolve) => session.ping(resolve));
    stream.close(constants.NGHTTP2_CANCEL);
    await closed;
  };
  for (let index = 0; index < 16; index++) await cancel();
  await new Promise((resolve) => session.ping(resolve));
  expect(session.destroyed).toBe(false);
  await cancel();
  await expect.poll(() => session.destroyed).toBe(true);
});

test("headers beyond what a call has are refused, whether the client has agreed to that or not", async () => {
  const { session } = await start();
  const much = { "x-much": "y".repeat(9000) };
  expect(await callWith(session, framed(Buffer.alloc(1)), much)).toMatchObject({ message: "too many headers" });
  expect((await callWith(session, framed(Buffer.alloc(1)), much)).code).not.toBe(status.OK);
});

test("after a refused request that was on its way the connection serves the next, again and again", async () => {
  const { session } = await start();
  for (let index = 0; index < 20; index++) {
    const stream = begin(session);
    const ended = outcome(stream);
    // More than the window, so that its sender waits in the middle of it.
    stream.write(framed(Buffer.alloc(200 * KIB), 200 * KIB));
    expect(await ended).toMatchObject({ message: "request_too_large" });
    expect(await callWith(session, framed(Buffer.of(1)))).toMatchObject({ code: status.OK });
  }
});

test("large requests, one after the other, are all taken", async () => {
  const { session } = await start();
  for (let index = 0; index < 50; index++) {
    expect(await callWith(session, framed(Buffer.alloc(60 * KIB)))).toMatchObject({ code: status.OK });
  }
});
