import { create } from "@bufbuild/protobuf";
import { once } from "node:events";
import { connect as tcpConnect, type Socket } from "node:net";
import { Writable } from "node:stream";
import type { TLSSocket } from "node:tls";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { ClientHelloSchema, ServerHelloSchema } from "../api/channel_pb.ts";
import { addService, type CallContext } from "../api/grpc.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { Refusal } from "../api/refusal.ts";
import type { Attester } from "../attestation/evidence.ts";
import { generateEcKey } from "../pki/keys.ts";
import { ChannelClient } from "./client.ts";
import type { Appraiser } from "./exchange.ts";
import { readMessage, writeMessage } from "./framing.ts";
import { type ChannelLimits, LARGE_MESSAGE } from "./limits.ts";
import { toStatus } from "./rejection.ts";
import { type ChannelServer, listen } from "./server.ts";
import { selfSigned, startTls } from "./tls.ts";

/** Peers of one address and of another, over real sockets; what is slow is an appraisal that the test holds up. */

const ADDRESS = "127.86.1.1";
const [CROWD, OTHER] = ["127.86.1.2", "127.86.1.3"];
const ROOM = { total: 100, perPeer: 100 };
const identity = await selfSigned(await generateEcKey("P-256"), new Date());
const noAttester: Attester = {
  insecure: undefined,
  collect: () => Promise.reject(new Error("nobody asks for evidence here")),
};

interface Setting {
  readonly limits?: Partial<ChannelLimits>;
  readonly appraise?: Appraiser<string>;
  readonly answer?: (call: CallContext) => Promise<string>;
}

const running: { server: ChannelServer; sockets: Socket[] }[] = [];
afterEach(async () => {
  for (const { server, sockets } of running.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await server.close(0);
  }
});

async function start({ limits, appraise, answer }: Setting) {
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
      serve: (grpc, peer) =>
        addService(
          grpc,
          MeshAPI,
          { newMeshCert: async (_, call) => ({ certChain: (await answer?.(call)) ?? peer }) },
          toStatus,
        ),
      log: pino(sink),
      observer: {
        connectionsOpen: (count) => (observed.open = count),
        connectionRefused: (reason) => observed.refused.push(reason),
      },
      limits: {
        handshakeMs: 3000,
        idleMs: 30_000,
        ageMs: 60_000,
        messageBytes: 65_536,
        connections: ROOM,
        handshakes: ROOM,
        largeMessages: ROOM,
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
    const tls = await startTls(await open(localAddress), identity, AbortSignal.timeout(10_000));
    tls.on("error", () => undefined);
    return tls;
  };
  /** Says hello, and gives the answer of the server, or its refusal. */
  const greet = async (localAddress: string) => {
    const tls = await shake(localAddress);
    await writeMessage(tls, ClientHelloSchema, create(ClientHelloSchema, {}));
    const answer = readMessage(tls, ServerHelloSchema).then((hello) => hello.answer);
    // Not every test waits for it.
    answer.catch(() => undefined);
    return { tls, answer };
  };
  const client = (): ChannelClient<never> =>
    new ChannelClient({ target: `${ADDRESS}:${server.port}`, identity, handshakeMs: 5000 });
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

test("one address can't take all connections, and who is too many is closed, counted and logged", async () => {
  const { open, greet, observed, lines } = await start({ limits: { connections: { total: 3, perPeer: 2 } } });
  await open(CROWD);
  await open(CROWD);
  const third = await open(CROWD);
  third.resume();
  if (!third.closed) await new Promise((resolve) => third.once("close", resolve));
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
  expect(lines[1]).toMatchObject({ code: "too_many_connections", count: 48 });
});

test("a handshake waits for room among those of its address, and nobody else waits for it", async () => {
  const waiting = { total: 9, perPeer: 9 };
  const { open, greet, shake } = await start({ limits: { handshakes: { total: 2, perPeer: 1, waiting } } });
  const silent = await open(CROWD);
  let isDone = false;
  const second = shake(CROWD).finally(() => (isDone = true));
  expect((await (await greet(OTHER)).answer).case).toBe("accepted");
  expect(isDone).toBe(false);
  silent.destroy();
  expect((await second).authorized).toBe(false);
});

test("silent peers lose their room by the deadline, and those behind them get in", async () => {
  const waiting = { total: 9, perPeer: 9 };
  const limits = { handshakeMs: 700, handshakes: { total: 2, perPeer: 2, waiting } };
  const { open, greet, observed } = await start({ limits });
  await open(CROWD);
  await open(CROWD);
  expect((await (await greet(CROWD)).answer).case).toBe("accepted");
  expect(observed.refused).toEqual(["timeout", "timeout"]);
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

test("who talks before he is appraised costs no more than one who waits", async () => {
  const { appraise, begun, end } = held();
  const { greet } = await start({ appraise });
  const { tls, answer } = await greet(CROWD);
  await expect.poll(begun).toBe(1);
  tls.write(Buffer.alloc(1024 * 1024, 1));
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const { user, system } = process.cpuUsage(before);
  expect(user + system).toBeLessThan(200_000);
  end();
  expect((await answer)?.case).toBe("accepted");
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

test("large messages are received a few at a time, small ones always", async () => {
  const limits = { largeMessages: { total: 1, perPeer: 1, waiting: { total: 9, perPeer: 9 } } };
  const { shake, greet } = await start({ limits });
  const announce = async (): Promise<TLSSocket> => {
    const tls = await shake(CROWD);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(LARGE_MESSAGE + 1);
    tls.write(head);
    return tls;
  };
  // A field that nobody knows: number 15, of as many bytes as are left.
  const field = Buffer.concat([Buffer.of(0x7a, 0xfd, 0xff, 0x03), Buffer.alloc(LARGE_MESSAGE - 3)]);
  const first = await announce();
  const second = await announce();
  second.write(field);
  const answer = readMessage(second, ServerHelloSchema);
  expect((await (await greet(CROWD)).answer).case).toBe("accepted");
  first.write(field);
  expect((await readMessage(first, ServerHelloSchema)).answer.case).toBe("accepted");
  expect((await answer).answer.case).toBe("accepted");
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
