import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Attester } from "../../attestation/evidence.ts";
import { asking, drawNonce, PORT, startAttest, type TestAttest } from "./test-attest.ts";

/** Clients that want the Coordinator to be busy, to keep much, or to keep others out. */

const ADDRESS = "127.45.7.1";
const ATTACKER = "127.45.7.2";
const VISITOR = "127.45.7.3";
/** Short, so that a test of a limit of time does not take long; what is measured is that there is an end. */
const TIMES = { requestMs: 700, idleMs: 700, patienceMs: 100 };
/** With 256 MiB, of one source. */
const CONNECTIONS = 30;

let coordinator: TestAttest;
/** Holds reports up where a test wants that. */
let gate: Promise<unknown> = Promise.resolve();
const sockets: Socket[] = [];

beforeAll(async () => {
  const attester = (own: Attester): Attester => ({
    ...own,
    collect: async (reportData) => {
      await gate;
      return own.collect(reportData);
    },
  });
  coordinator = await startAttest(ADDRESS, { limits: TIMES, attester });
  // A name for each of a thousand pods would be as long.
  await coordinator.set({ name: "x" });
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

afterAll(() => coordinator.remove());

async function open(localAddress = ATTACKER): Promise<Socket> {
  const socket = connect({ host: ADDRESS, port: PORT, localAddress });
  sockets.push(socket);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

/** All that the server says until it ends the connection. */
async function rest(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (bytes: Buffer) => (text += bytes.toString()));
  await once(socket, "close");
  return text;
}

const head = (line: string, ...lines: string[]): string => [line, "Host: x", ...lines, "", ""].join("\r\n");
const POST = "POST /v1/attest HTTP/1.1";
const TYPE = "Content-Type: application/json";
const whole = (nonce = drawNonce()): string => {
  const body = JSON.stringify({ nonce });
  return `${head(POST, TYPE, `Content-Length: ${body.length}`)}${body}`;
};

/** Somebody else is served at this moment. */
const serves = async (localAddress = VISITOR): Promise<void> => {
  const nonce = drawNonce();
  const reply = await coordinator.attest(nonce, { localAddress });
  expect(reply.status).toBe(200);
};

test("10 MB are refused by what they say of themselves, before a byte of them came", async () => {
  const socket = await open();
  const said = rest(socket);
  socket.write(head(POST, TYPE, "Content-Length: 10000000"));
  expect(await said).toMatch(/^HTTP\/1\.1 413 .*connection: close.*"request_too_large"/is);
  // Who asks first is told first.
  const polite = await open();
  const answer = rest(polite);
  polite.write(head(POST, TYPE, "Content-Length: 10000000", "Expect: 100-continue"));
  expect(await answer).toMatch(/^HTTP\/1\.1 413 /);
  const sized = await open();
  const continued = rest(sized);
  const body = JSON.stringify({ nonce: drawNonce() });
  sized.write(head(POST, TYPE, `Content-Length: ${body.length}`, "Expect: 100-continue", "Connection: close"));
  await once(sized, "data");
  sized.write(body);
  expect(await continued).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
});

test("10 MB in chunks are refused by what comes, and next to nothing of them is read", async () => {
  const socket = await open();
  const said = rest(socket);
  socket.write(head(POST, TYPE, "Transfer-Encoding: chunked"));
  for (let chunk = 0; chunk < 1280 && !socket.destroyed; chunk++) {
    socket.write(`2000\r\n${"A".repeat(0x2000)}\r\n`);
    if (chunk % 100 === 0) await delay(5);
  }
  expect(await said).toMatch(/^HTTP\/1\.1 413 .*"request_too_large"/s);
  const again = await coordinator.ask("/v1/attest", { ...asking(""), body: Buffer.alloc(10_000_000, "A") }).then(
    ({ status }) => status,
    // It still sends when the answer is there.
    (error: NodeJS.ErrnoException) => error.code,
  );
  expect([413, "EPIPE", "ECONNRESET"]).toContain(again);
  await serves();
});

test("a body that never ends, or comes in crumbs, has an end", async () => {
  const slow = await open();
  const said = rest(slow);
  slow.write(head(POST, TYPE, "Content-Length: 80"));
  const drip = setInterval(() => slow.write("x"), 50);
  expect(await said).toMatch(/^HTTP\/1\.1 408 .*"request_too_slow"/s);
  clearInterval(drip);
  const crumbs = await open();
  const answer = rest(crumbs);
  crumbs.write(head(POST, TYPE, "Transfer-Encoding: chunked"));
  crumbs.write("1\r\nx\r\n".repeat(200));
  expect(await answer).toMatch(/^HTTP\/1\.1 400 .*crumbs/s);
  await serves();
});

test("a head that never comes, or never ends, has an end, too", async () => {
  for (const sent of ["", "POST /v1/at", head(POST).slice(0, -2)]) {
    const socket = await open();
    const said = rest(socket);
    socket.write(sent);
    expect(await said).toBe("");
  }
  const drips = await open();
  const said = rest(drips);
  const text = head(POST, `X: ${"x".repeat(4000)}`);
  let sent = 0;
  const drip = setInterval(() => drips.write(text[sent++] ?? "x"), 20);
  expect(await said).toBe("");
  clearInterval(drip);
});

test("who does not wait for an answer before the next request gets no other", async () => {
  const before = coordinator.reports();
  const socket = await open();
  const said = rest(socket);
  socket.write(whole().repeat(100));
  expect((await said).match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThan(2);
  expect(coordinator.reports() - before).toBeLessThan(2);
  await serves();
});

test("requests that follow each other at once over one connection are answered, up to what one may carry", async () => {
  const socket = await open();
  let text = "";
  let asked = 1;
  socket.on("data", (bytes: Buffer) => {
    text += bytes.toString();
    const answered = text.split("HTTP/1.1 200").length - 1;
    if (answered < asked || !text.endsWith("}")) return;
    asked += 1;
    socket.write(head("GET /v1/capabilities HTTP/1.1"));
  });
  socket.write(head("GET /v1/capabilities HTTP/1.1"));
  await once(socket, "close");
  expect(text.split("HTTP/1.1 200").length - 1).toBeGreaterThan(100);
  expect(text.match(/connection: close/gi)).toHaveLength(1);
});

test("who leaves while his nonce waits costs no report", async () => {
  const before = coordinator.reports();
  const leaving = await Promise.all(Array.from({ length: 10 }, () => open()));
  for (const socket of leaving) {
    socket.write(whole());
    socket.resetAndDestroy();
  }
  await delay(300);
  expect(coordinator.reports() - before).toBeLessThan(2);
  expect(await coordinator.metrics()).toContain("contrast_attest_waiting 0");
});

test("connections that say nothing, or say half, keep nobody out, not even those who share their address", async () => {
  const idle = await Promise.all(
    Array.from({ length: CONNECTIONS + 10 }, async (_, index) => {
      const socket = await open();
      if (index % 2 === 0) socket.write(head(POST, TYPE, "Content-Length: 80"));
      return socket;
    }),
  );
  await serves();
  await delay(TIMES.patienceMs);
  await serves(ATTACKER);
  expect(idle.some((socket) => socket.destroyed)).toBe(true);
});

test("of one source a bounded number waits for a slow TEE, and others wait beside them", async () => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  gate = promise;
  const before = coordinator.reports();
  const waiting = Array.from({ length: 3 * CONNECTIONS }, () =>
    coordinator.attest(drawNonce(), { localAddress: ATTACKER }).then(
      ({ status }) => status,
      () => "refused",
    ),
  );
  await delay(300);
  const other = coordinator.attest(drawNonce(), { localAddress: VISITOR });
  await delay(100);
  const [, count = "0"] = /^contrast_attest_waiting (\d+)$/m.exec(await coordinator.metrics()) ?? [];
  expect(Number(count)).toBeLessThanOrEqual(CONNECTIONS + 1);
  resolve(undefined);
  expect((await other).status).toBe(200);
  const outcomes = await Promise.all(waiting);
  expect(outcomes.filter((outcome) => outcome === 200)).toHaveLength(CONNECTIONS);
  expect(outcomes.filter((outcome) => outcome === "refused")).toHaveLength(2 * CONNECTIONS);
  expect(coordinator.reports() - before).toBeLessThan(4);
});

/** Bytes that the kernel keeps for clients of this port: what is not acknowledged, or was not taken (proc(5), net/tcp). */
function unread(): number {
  const hex = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, "0");
  const octets = ADDRESS.split(".").map(Number).toReversed();
  const own = `${octets.map((octet) => hex(octet, 2)).join("")}:${hex(PORT, 4)}`;
  const rows = readFileSync("/proc/net/tcp", "latin1").split("\n").slice(1);
  const queues = rows.map((row) => row.trim().split(/\s+/)).filter(([, local]) => local === own);
  return queues.reduce((sum, [, , , , sizes = ""]) => sum + Number.parseInt(sizes, 16), 0);
}

test("who asks again and again and reads nothing makes the kernel keep little, and others are served", async () => {
  const greedy = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = await open();
      socket.pause();
      const again = setInterval(() => socket.write(head("GET /v1/openapi.json HTTP/1.1")), 30);
      socket.once("close", () => clearInterval(again));
      return socket;
    }),
  );
  let most = 0;
  for (let look = 0; look < 40; look++) {
    await delay(50);
    most = Math.max(most, unread());
  }
  await serves();
  // 32 KiB for each, and the answer that made it more.
  expect(most).toBeLessThan(CONNECTIONS * 64 * 1024);
  for (const socket of greedy) socket.destroy();
  await expect.poll(unread, { timeout: 5000 }).toBe(0);
});

test("who does not read his answer goes when others need its place, and what he left is not kept", async () => {
  const greedy = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = await open();
      socket.pause();
      socket.write(head("GET /v1/openapi.json HTTP/1.1", "Connection: close"));
      return socket;
    }),
  );
  await serves();
  await delay(2 * TIMES.patienceMs);
  await serves(ATTACKER);
  // Each keeps its place until it has read and left: in the end its time is over.
  await expect.poll(unread, { timeout: 5000 }).toBe(0);
  for (const socket of greedy) socket.destroy();
});

test("many at once from many addresses are answered, and those who are told why not are told when", async () => {
  const replies = await Promise.all(
    Array.from({ length: 400 }, (_, index) =>
      coordinator.attest(drawNonce(), { localAddress: `127.45.8.${1 + (index % 40)}` }).catch(() => undefined),
    ),
  );
  const answered = replies.filter((reply) => reply?.status === 200);
  expect(answered.length).toBeGreaterThan(100);
  for (const reply of replies) if (reply !== undefined && reply.status !== 200) expect(reply.status).toBe(429);
  await serves();
});
