import { create } from "@bufbuild/protobuf";
import { once } from "node:events";
import { connect as tcpConnect, type Socket } from "node:net";
import { Writable } from "node:stream";
import type { TLSSocket } from "node:tls";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { ClientHelloSchema, ServerHelloSchema } from "../api/channel_pb.ts";
import { addMethods, type CallContext } from "../api/grpc.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { Refusal } from "../api/refusal.ts";
import type { Attester } from "../attestation/evidence.ts";
import { generateEcKey } from "../pki/keys.ts";
import { Budget, budgetLimits } from "../runtime/budget.ts";
import { KeyedSemaphore } from "../runtime/keyed-semaphore.ts";
import { ChannelClient } from "./client.ts";
import { proveClientKey } from "./client-key.ts";
import type { Appraiser } from "./exchange.ts";
import { MAX_MESSAGE, readMessage, writeMessage } from "./framing.ts";
import type { ChannelLimits } from "./limits.ts";
import { toStatus } from "./rejection.ts";
import { type ChannelServer, listen } from "./server.ts";
import { exporterOf, selfSigned, startTls } from "./tls.ts";

/** Peers of one address and of another, over real sockets; what is slow is an appraisal that the test holds up. */

const ADDRESS = "127.86.1.1";
const [CROWD, OTHER] = ["127.86.1.2", "127.86.1.3"];
const ROOM = { total: 100, perPeer: 100 };
const keys = await generateEcKey("P-256");
const identity = await selfSigned(await generateEcKey("P-256"), new Date());
const noAttester: Attester = {
  insecure: undefined,
  collect: () => Promise.reject(new Error("nobody asks for evidence here")),
};

interface Setting {
  readonly limits?: Partial<ChannelLimits>;
  readonly appraise?: Appraiser<string>;
  readonly answer?: (call: CallContext) => Promise<string>;
  readonly accountOf?: () => string | undefined;
}

const running: { server: ChannelServer; sockets: Socket[] }[] = [];
afterEach(async () => {
  for (const { server, sockets } of running.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await server.close(0);
  }
});

const unasked = (): Promise<never> => Promise.reject(new Error("nobody asks"));
const UNASKED = { currentTrust: unasked, recover: unasked, latest: unasked, useFormatGrant: unasked };

async function start({ limits, appraise, answer, accountOf = () => undefined }: Setting) {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => (lines.push(JSON.parse(chunk.toString()) as never), done()),
  });
  const observed = { open: 0, refused: [] as string[] };
  const server = await listen(
    {
      identity,
      attester: noAttester,
      appraise: appraise ?? (async () => "peer"),
      serve: (methods, peer) =>
        addMethods(
          methods,
          MeshAPI,
          { newMeshCert: async (_, call) => ({ certChain: (await answer?.(call)) ?? peer }), ...UNASKED },
          toStatus,
        ),
      requests: new Budget(budgetLimits(2 ** 20)),
      turns: new KeyedSemaphore({ total: 1, perPeer: 1, waiting: ROOM }),
      log: pino(sink),
      accountOf,
      observer: {
        connectionsOpen: (count) => (observed.open = count),
        connectionRefused: (reason) => observed.refused.push(reason),
      },
      limits: {
        handshakeMs: 3000,
        requestMs: 3000,
        idleMs: 30_000,
        ageMs: 60_000,
        patienceMs: 1000,
        helloBytes: MAX_MESSAGE,
        connections: ROOM,
        places: ROOM,
        reserved: ROOM,
        appraisals: ROOM,
        ...limits,
      },
    },
    0,
    ADDRESS,
  );
  const sockets: Socket[] = [];
  running.push({ server, sockets });
  const open = async (localAddress: string): Promise<Socket> => {
    const socket = tcpConnect({ port: server.port, host: ADDRESS, localAddress });
    sockets.push(socket);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    return socket;
  };
  const shake = async (localAddress: string): Promise<TLSSocket> => {
    const tls = await startTls(await open(localAddress), AbortSignal.timeout(10_000));
    tls.on("error", () => undefined);
    return tls;
  };
  /** Says hello, and gives the answer of the server, or its refusal. */
  const greet = async (localAddress: string) => {
    const tls = await shake(localAddress);
    await writeMessage(tls, ClientHelloSchema, create(ClientHelloSchema, proveClientKey(keys, exporterOf(tls))));
    const answer = readMessage(tls, ServerHelloSchema).then((hello) => hello.answer);
    // Not every test waits for it.
    answer.catch(() => undefined);
    return { tls, answer };
  };
  const client = (): ChannelClient<never> =>
    new ChannelClient({ target: `${ADDRESS}:${server.port}`, keys, handshakeMs: 5000 });
  return { server, lines, observed, open, shake, greet, client };
}

/** An appraisal that ends when the test says so; `begun` counts. */
function held() {
  const ends: (() => void)[] = [];
  const abandoned: (AbortSignal | undefined)[] = [];
  const appraise: Appraiser<string> = (_claimant, signal) => {
    abandoned.push(signal);
    return new Promise((resolve) => ends.push(() => resolve("peer")));
  };
  return { appraise, abandoned, begun: () => ends.length, end: () => ends.splice(0).forEach((end) => end()) };
}

const inSeconds = (ms: number): Date => new Date(Date.now() + ms);

/** The beginning of a ClientHello (RFC 8446 §5.1) that announces more than ever comes. */
const HALF_A_GREETING = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252]);

async function closed(socket: Socket): Promise<void> {
  socket.resume();
  // Not `once`, which takes a reset on the way for a failure.
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
}

test("who has said nothing makes room for others, those first that have been silent for longest", async () => {
  const { open, greet, observed, lines } = await start({ limits: { connections: { total: 3, perPeer: 2 } } });
  const first = await open(CROWD);
  const second = await open(CROWD);
  second.write(HALF_A_GREETING);
  const third = await open(CROWD);
  await closed(first);
  expect((await (await greet(OTHER)).answer).case).toBe("accepted");
  // All are taken, and two of them by one address.
  const { tls, answer } = await greet("127.86.1.4");
  expect((await answer).case).toBe("accepted");
  await closed(second);
  expect(third.closed).toBe(false);
  tls.destroy();
  expect(observed.refused).toEqual(["made_room", "made_room"]);
  expect(lines).toMatchObject([{ code: "made_room" }]);
});

test("connections that TLS knows make no room, and who is too many is closed, counted and logged", async () => {
  const { open, shake, greet, observed, lines } = await start({ limits: { connections: { total: 3, perPeer: 2 } } });
  await shake(CROWD);
  await shake(CROWD);
  await closed(await open(CROWD));
  expect((await (await greet(OTHER)).answer).case).toBe("accepted");
  expect(observed).toEqual({ open: 3, refused: ["too_many_connections"] });
  expect(lines).toMatchObject([{ code: "too_many_connections" }]);
});

test("a flood of refusals is one line at once, and one a second with their number", async () => {
  const { open, observed, lines } = await start({ limits: { connections: { total: 1, perPeer: 1 } } });
  for (let index = 0; index < 50; index++) await open(CROWD);
  await expect.poll(() => observed.refused.length).toBe(49);
  expect(lines).toHaveLength(1);
  await expect.poll(() => lines.length, { timeout: 3000 }).toBe(2);
  expect(lines[1]).toMatchObject({ code: "made_room", count: 48 });
});

test("thousands that are silent, or that stop in the middle of their first message, take no place", async () => {
  const { open, greet } = await start({ limits: { places: { total: 1, perPeer: 1 } } });
  for (let index = 0; index < 20; index++) (await open(CROWD)).write(index % 2 === 0 ? "" : HALF_A_GREETING);
  expect((await (await greet(CROWD)).answer).case).toBe("accepted");
});

test.each([
  ["no TLS", [Buffer.from("GET / HTTP/1.1\r\n\r\n")]],
  [
    "a first message of 9 KiB",
    [Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]), Buffer.alloc(9216)])],
  ],
  ["one of no end", [Buffer.from([22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff])]],
  ["another message", [Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])]],
  ["an empty record", [Buffer.from([22, 3, 1, 0, 0])]],
  [
    "more than the first message",
    [Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 0]), Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 0])],
  ],
  ["crumbs", Array.from({ length: 200 }, (_, index) => HALF_A_GREETING.subarray(index, index + 1))],
])("a peer that begins with %s is closed at once", async (_name, pieces) => {
  const { open, observed } = await start({ limits: { places: { total: 0, perPeer: 0, waiting: ROOM } } });
  const socket = await open(CROWD);
  for (const piece of pieces) {
    if (!socket.writable) break;
    socket.write(piece.length === 0 ? Buffer.of(0) : piece);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await closed(socket);
  expect(observed.refused).toEqual(["tls_handshake"]);
});

test("a handshake waits for a place among those of its address, and nobody else waits for it", async () => {
  const waiting = { total: 9, perPeer: 9 };
  const { greet, shake } = await start({ limits: { places: { total: 2, perPeer: 1, waiting }, patienceMs: 60_000 } });
  const silent = await shake(CROWD);
  let isDone = false;
  const second = shake(CROWD).finally(() => (isDone = true));
  expect((await (await greet(OTHER)).answer).case).toBe("accepted");
  expect(isDone).toBe(false);
  silent.destroy();
  expect((await second).authorized).toBe(false);
});

test("who has a place and makes nothing of it loses it when another needs it, and not before", async () => {
  const waiting = { total: 9, perPeer: 9 };
  const limits = { patienceMs: 300, places: { total: 2, perPeer: 2, waiting } };
  const { shake, greet, observed } = await start({ limits });
  await shake(CROWD);
  const { answer } = await greet(CROWD);
  expect((await answer).case).toBe("accepted");
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(observed).toEqual({ open: 2, refused: [] });
  // Of its own address, and of another.
  expect((await (await greet(CROWD)).answer).case).toBe("accepted");
  expect((await (await greet(OTHER)).answer).case).toBe("accepted");
  expect(observed.refused).toEqual(["made_room", "made_room"]);
});

test("who has an account has a place that a flood of his own address can't take, and is never in the way", async () => {
  const waiting = { total: 9, perPeer: 9 };
  const limits = { patienceMs: 200, places: { total: 1, perPeer: 1, waiting }, reserved: { total: 1, perPeer: 1 } };
  const { shake, greet, observed, server } = await start({ limits, accountOf: () => "owner" });
  const owner = await greet(CROWD);
  expect((await owner.answer).case).toBe("accepted");
  // His place is free again, for others and for himself.
  for (let index = 0; index < 5; index++) await shake(CROWD);
  expect(owner.tls.destroyed).toBe(false);
  expect(observed.refused).toEqual(["made_room", "made_room", "made_room", "made_room"]);
  expect(server.port).toBeGreaterThan(0);
});

test("evidence that waits for a vendor does not hold up that of another address", async () => {
  const { appraise, begun, end } = held();
  const limits = { appraisals: { total: 3, perPeer: 2, waiting: { total: 2, perPeer: 1 } } };
  const { greet } = await start({ appraise, limits });
  await greet(CROWD);
  await greet(CROWD);
  await expect.poll(begun).toBe(2);
  const waiting = await greet(CROWD);
  const other = await greet(OTHER);
  await expect.poll(begun).toBe(3);
  end();
  expect((await other.answer).case).toBe("accepted");
  await expect.poll(begun).toBe(1);
  end();
  expect((await waiting.answer).case).toBe("accepted");
});

test("who finds no room to wait is told to come back, and when", async () => {
  const { appraise, begun } = held();
  const { greet, client, observed } = await start({ appraise, limits: { appraisals: { total: 1, perPeer: 1 } } });
  await greet(CROWD);
  await expect.poll(begun).toBe(1);
  const { answer } = await greet(CROWD);
  expect(await answer).toMatchObject({
    case: "rejected",
    value: { code: "overloaded", transient: true, retryAfterMs: 1000 },
  });
  const turnedAway = client();
  await expect(turnedAway.call(MeshAPI.method.newMeshCert, {}, inSeconds(5000))).rejects.toMatchObject({
    code: "overloaded",
    transient: true,
    retryAfterMs: 1000,
    hint: "try again in 1 s",
  });
  turnedAway.close();
  expect(observed.refused).toEqual(["overloaded", "overloaded"]);
});

test("who hangs up while he waits is never appraised", async () => {
  const { appraise, begun, end } = held();
  const waiting = { total: 9, perPeer: 9 };
  const { greet, observed } = await start({ appraise, limits: { appraisals: { total: 1, perPeer: 1, waiting } } });
  const first = await greet(CROWD);
  await expect.poll(begun).toBe(1);
  const impatient = await greet(CROWD);
  impatient.tls.end();
  await expect.poll(() => observed.refused).toEqual(["closed"]);
  end();
  expect((await first.answer).case).toBe("accepted");
  expect(begun()).toBe(0);
});

test("who goes on talking before he is answered is refused, however little he says", async () => {
  const { appraise, begun, abandoned } = held();
  const { greet, observed } = await start({ appraise });
  const { tls, answer } = await greet(CROWD);
  await expect.poll(begun).toBe(1);
  tls.write(Buffer.of(1));
  expect(await answer).toMatchObject({ case: "rejected", value: { code: "malformed_message" } });
  expect(abandoned[0]?.aborted).toBe(true);
  expect(observed.refused).toEqual(["malformed_message"]);
});

test("a hello that comes byte by byte, each in a record of its own, is refused before it is whole", async () => {
  const { shake, observed } = await start({});
  const tls = await shake(CROWD);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(MAX_MESSAGE);
  tls.write(head);
  for (let index = 0; index < 500 && tls.writable; index++) {
    await new Promise((resolve) => tls.write(Buffer.of(0), resolve));
  }
  await closed(tls);
  expect(observed.refused).toEqual(["malformed_message"]);
});

test("an appraisal that hangs ends by the deadline: its room is free, and it is told that nobody waits", async () => {
  const { appraise, begun, abandoned } = held();
  const waiting = { total: 9, perPeer: 9 };
  const limits = { handshakeMs: 700, appraisals: { total: 1, perPeer: 1, waiting } };
  const { greet, lines } = await start({ appraise, limits });
  await greet(CROWD);
  await expect.poll(begun).toBe(1);
  await new Promise((resolve) => abandoned[0]?.addEventListener("abort", resolve));
  await greet(CROWD);
  await expect.poll(begun).toBe(2);
  expect(lines).toMatchObject([{ code: "timeout" }]);
});

test("a handler learns that the deadline of its call is over", async () => {
  let signal: AbortSignal | undefined;
  const { client } = await start({
    answer: (call) => {
      ({ signal } = call);
      return new Promise((resolve) => call.signal.addEventListener("abort", () => resolve("late")));
    },
  });
  const caller = client();
  await expect(caller.call(MeshAPI.method.newMeshCert, {}, inSeconds(500))).rejects.toMatchObject({ code: "timeout" });
  await expect.poll(() => signal?.reason as unknown).toBeInstanceOf(Refusal);
  expect(signal?.reason).toMatchObject({ code: "deadline_exceeded" });
  caller.close();
});

test("told to close, it answers the calls and the evidence that it has, and lets nobody in", async () => {
  let finish: (() => void) | undefined;
  const { appraise, begun, end } = held();
  const { server, client, greet, open, observed } = await start({
    appraise,
    answer: () => new Promise((resolve) => (finish = () => resolve("answer"))),
  });
  const caller = client();
  const call = caller.call(MeshAPI.method.newMeshCert, {}, inSeconds(10_000));
  await expect.poll(begun).toBe(1);
  end();
  await expect.poll(() => finish).toBeDefined();
  const { answer, tls } = await greet(OTHER);
  await expect.poll(begun).toBe(1);
  const silent = await open(OTHER);
  const silentGone = new Promise((resolve) => silent.resume().once("close", resolve));

  const closed = server.close(10_000);
  await silentGone;
  await expect(open(OTHER)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  end();
  finish?.();
  expect((await answer).case).toBe("accepted");
  tls.destroy();
  expect((await call).certChain).toBe("answer");
  caller.close();
  await closed;
  await expect.poll(() => observed.open).toBe(0);
});
