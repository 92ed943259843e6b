import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { costlyChain, longestChain, rsaKey } from "../../test/costly-chains.ts";
import {
  base64,
  type ClientFiles,
  decryptPath,
  encryptPath,
  type Reply,
  startTransit,
  type TestTransit,
  WORKLOADS,
} from "./test-transit.ts";

/** Clients that want the Coordinator to be busy, to keep much, or to mistake one for another. */

const ADDRESS = "127.44.21.4";
const VAULT = "vault_unsealing";
/** Short, so that a test of a limit of time does not take long; what is measured is that there is an end. */
const TIMES = { handshakeMs: 1500, requestMs: 700, idleMs: 700, patienceMs: 100 };
const run = promisify(execFile);
let transit: TestTransit;
let vault: ClientFiles;
let shop: ClientFiles;
let folder: string;

beforeAll(async () => {
  transit = await startTransit(ADDRESS, TIMES);
  await transit.set();
  [vault, shop] = await Promise.all([transit.enroll("vault"), transit.enroll("shop")]);
  folder = mkdtempSync(join(tmpdir(), "transit-attacks-"));
  for (const [name, pem] of Object.entries(vault)) writeFileSync(join(folder, `${name}.pem`), pem as string);
});

afterAll(async () => {
  await transit.remove();
  rmSync(folder, { recursive: true });
});

const SERVED = { host: ADDRESS, port: 8200, servername: "coordinator.contrast.internal" };

async function open(client: Partial<ClientFiles> = vault): Promise<TLSSocket> {
  const socket = connect({ ...SERVED, rejectUnauthorized: false, ...client });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}

/** All that the server says until it ends the connection. */
async function rest(socket: TLSSocket): Promise<string> {
  let text = "";
  socket.on("data", (bytes: Buffer) => (text += bytes.toString()));
  await once(socket, "close");
  return text;
}

const head = (path: string, ...lines: string[]): string =>
  [`POST ${path} HTTP/1.1`, "Host: coordinator.contrast.internal", ...lines, "", ""].join("\r\n");

/** Another pod, of another workload, is served at this moment. */
const serves = async (): Promise<void> => {
  const path = encryptPath(WORKLOADS["shop"]?.id ?? "");
  const reply = await transit.ask(shop, path, { plaintext: "" }, { localAddress: "127.44.21.5" });
  expect(reply.status).toBe(200);
};

test("10 MB are refused by what they say of themselves, and by what comes", async () => {
  const big = Buffer.alloc(10 * 2 ** 20, "A");
  const too = { status: 413, body: { errors: ["request body too large"] }, headers: { connection: "close" } };
  expect(await transit.ask(vault, encryptPath(VAULT), big)).toMatchObject(too);
  const socket = await open();
  const said = rest(socket);
  socket.write(head(encryptPath(VAULT), "Transfer-Encoding: chunked"));
  for (let chunk = 0; chunk < 20 && !socket.destroyed; chunk++) {
    socket.write(`2000\r\n${"A".repeat(0x2000)}\r\n`);
  }
  expect(await said).toMatch(/^HTTP\/1\.1 413 .*"request body too large"/s);
  await serves();
});

/** The end of the handshake and the request after it come in one piece, which is longer than any handshake. */
test("the longest request fits, right behind the handshake", async () => {
  const plaintext = Buffer.alloc(64 * 1024, 7).toString("base64");
  const { body } = await transit.ask(vault, encryptPath(VAULT), { plaintext });
  const ciphertext = String(body.data?.["ciphertext"]);
  expect((await transit.ask(vault, decryptPath(VAULT), { ciphertext })).body.data).toEqual({ plaintext });
  const longer = { plaintext: Buffer.alloc(64 * 1024 + 1).toString("base64") };
  expect((await transit.ask(vault, encryptPath(VAULT), longer)).status).toBe(413);
});

test("strangers are refused before their body is read", async () => {
  for (const [client, path] of [
    [{}, encryptPath(VAULT)],
    [shop, encryptPath(VAULT)],
    [vault, "/v1/other"],
  ] as const) {
    const socket = await open(client);
    const said = rest(socket);
    socket.write(head(path, "Content-Length: 90000"));
    expect(await said).toMatch(/^HTTP\/1\.1 40[34] .*connection: close/s);
  }
});

test("a body that never ends, or comes in crumbs, has an end", async () => {
  const slow = await open();
  const said = rest(slow);
  slow.write(head(encryptPath(VAULT), "Content-Length: 100"));
  const drip = setInterval(() => slow.write("x"), 50);
  expect(await said).toMatch(/^HTTP\/1\.1 408 .*"request timed out"/s);
  clearInterval(drip);
  const crumbs = await open();
  const answer = rest(crumbs);
  crumbs.write(head(encryptPath(VAULT), "Transfer-Encoding: chunked"));
  crumbs.write("1\r\nx\r\n".repeat(3000));
  expect(await answer).toMatch(/^HTTP\/1\.1 (400|408) /);
  await serves();
});

test("a head that never ends, is too long, or is none, has an end, too", async () => {
  for (const sent of ["", "POST /v1/tr", head(encryptPath(VAULT)).slice(0, -2)]) {
    const socket = await open();
    const said = rest(socket);
    socket.write(sent);
    expect(await said).toBe("");
  }
  for (const sent of [
    `POST ${encryptPath("x".repeat(20_000))} HTTP/1.1\r\nHost: x\r\n\r\n`,
    head(encryptPath(VAULT), `X: ${"x".repeat(20_000)}`),
    "LIST /v1/transit/keys HTTP/1.1\r\n\r\n",
    "\0\0\0\0\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    head(encryptPath(VAULT), "Content-Length: 2", "Content-Length: 3"),
    head(encryptPath(VAULT), "Content-Length: 2", "Transfer-Encoding: chunked"),
    head(encryptPath(VAULT), "Content-Length: -1"),
    head(encryptPath(VAULT), "Content-Length: 1e3"),
  ]) {
    const socket = await open();
    const said = rest(socket);
    socket.write(sent);
    expect(await said, sent.slice(0, 60)).toMatch(
      /^HTTP\/1\.1 400 Bad Request\r\n.*\{"errors":\["no request of HTTP\/1\.1"\]\}\n$/s,
    );
  }
  await serves();
});

test("who does not wait for an answer before the next request gets no other", async () => {
  const socket = await open();
  const said = rest(socket);
  const body = JSON.stringify({ plaintext: "" });
  socket.write(`${head(encryptPath(VAULT), `Content-Length: ${body.length}`)}${body}`.repeat(100));
  expect((await said).match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThan(2);
  await serves();
});

test("who ends in the middle of a request, or does not read the answer, is let go", async () => {
  const socket = await open();
  socket.write(head(encryptPath(VAULT), "Content-Length: 100"));
  socket.destroy();
  const reader = await open();
  const text = JSON.stringify({ plaintext: Buffer.alloc(60_000).toString("base64") });
  reader.pause();
  reader.write(head(encryptPath(VAULT), `Content-Length: ${text.length}`) + text);
  await expect.poll(() => transit.open(), { timeout: 10_000 }).toBe(0);
  reader.destroy();
  await serves();
});

test("what is no TLS, or an older one, is no connection", async () => {
  const plain = connectTcp(8200, ADDRESS);
  plain.write("GET / HTTP/1.1\r\n\r\n");
  plain.on("error", () => undefined);
  await once(plain, "close");
  const old = connect({ ...SERVED, rejectUnauthorized: false, maxVersion: "TLSv1.2" });
  await expect(once(old, "secureConnect")).rejects.toThrow(/protocol version/i);
});

/** Runs `openssl s_client`, with our certificate. @returns what it prints */
async function sClient(args: readonly string[], input = "Q\n"): Promise<string> {
  const files = ["-cert", "cert.pem", "-key", "key.pem", "-CAfile", "ca.pem", "-cert_chain", "cert.pem"];
  const child = spawn("openssl", ["s_client", "-connect", `${ADDRESS}:8200`, ...files, ...args], { cwd: folder });
  let text = "";
  child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (text += bytes.toString()));
  child.stdin.end(input);
  await once(child, "close");
  return text;
}

test("OpenSSL verifies the Coordinator's name, and neither resumes a session nor negotiates anew", async () => {
  const verify = ["-verify_return_error", "-verify_hostname", "coordinator.contrast.internal"];
  const request = head("/v1/x", "Connection: close");
  const first = await sClient([...verify, "-sess_out", "session.pem", "-ign_eof"], request);
  expect(first).toContain("Verification: OK");
  expect(first).toContain("Verified peername: coordinator.contrast.internal");
  expect(first).toContain("404 Not Found");
  // OpenSSL gives out tickets whatever it is told, but there is nothing behind them: the handshake is a whole one.
  const second = await sClient([...verify, "-sess_in", "session.pem", "-ign_eof"], request);
  expect(second).toContain("New, TLSv1.3");
  expect(second).not.toContain("Reused");
  expect(second).toContain("404 Not Found");
  const wrong = await sClient(["-verify_return_error", "-verify_hostname", "coordinator"]);
  expect(wrong).toContain("hostname mismatch");
  expect(await sClient(["-tls1_2"])).toMatch(/alert protocol version/);
});

test("a chain that takes long to verify is refused before it is verified", async () => {
  // 100 KiB are what Node would take.
  const costly = longestChain(rsaKey(3072, 3071), 90_000);
  const socket = connect({ ...SERVED, rejectUnauthorized: false, cert: costly.certChain, key: costly.key });
  socket.on("error", () => undefined);
  await once(socket, "close");
  expect(transit.log.some(({ msg }) => String(msg).includes("connection refused"))).toBe(true);
  // What fits costs little, and is a stranger's.
  const short = costlyChain(rsaKey(2048, 17), 2);
  const { status } = await transit.ask({ cert: short.certChain, key: short.key, ca: vault.ca }, encryptPath(VAULT), {});
  expect(status).toBe(403);
  await serves();
});

test("a thousand decrypts at once are answered, and another workload is served meanwhile", async () => {
  const { body } = await transit.ask(vault, encryptPath(VAULT), { plaintext: base64("hello") });
  const ciphertext = String(body.data?.["ciphertext"]);
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  let answered = 0;
  const all = Array.from({ length: 1000 }, async (): Promise<Reply> => {
    const reply = await transit.ask(vault, decryptPath(VAULT), { ciphertext }, { agent });
    answered += 1;
    return reply;
  });
  await serves();
  expect(answered).toBeLessThan(1000);
  for (const reply of await Promise.all(all)) expect(reply.body.data).toEqual({ plaintext: base64("hello") });
  agent.destroy();
});

/** Who has read an answer may be faster than the server learns that it is written. */
test("requests that follow each other at once over one connection are all answered", async () => {
  const socket = await open();
  const body = JSON.stringify({ plaintext: "" });
  const request = `${head(encryptPath(VAULT), `Content-Length: ${body.length}`)}${body}`;
  let answers = 0;
  socket.on("data", (bytes: Buffer) => {
    answers += bytes.toString().split("HTTP/1.1 200").length - 1;
    if (answers < 300) socket.write(request);
    else socket.destroy();
  });
  socket.write(request);
  await once(socket, "close");
  expect(answers).toBe(300);
});

test("a thousand connections of one workload leave room for another, and each gets an answer or an end", async () => {
  const { body } = await transit.ask(vault, encryptPath(VAULT), { plaintext: base64("hello") });
  const ciphertext = String(body.data?.["ciphertext"]);
  const all = Array.from({ length: 1000 }, () =>
    transit.ask(vault, decryptPath(VAULT), { ciphertext }).then(
      ({ status }) => status,
      () => "ended",
    ),
  );
  await serves();
  const outcomes = await Promise.all(all);
  for (const outcome of new Set(outcomes)) expect([200, 429, "ended"]).toContain(outcome);
  expect(outcomes.filter((outcome) => outcome === 200).length).toBeGreaterThan(0);
  await expect.poll(() => transit.open(), { timeout: 20_000 }).toBe(0);
  expect((await transit.ask(vault, encryptPath(VAULT), { plaintext: "" })).status).toBe(200);
}, 60_000);

/** With 256 MiB there are 24 places, and six of one workload. */
test("a workload of many pods has a quarter of the places, from however many addresses it comes", async () => {
  await expect.poll(() => transit.open(), { timeout: 20_000 }).toBe(0);
  const agents = Array.from({ length: 8 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  const replies: Reply[] = [];
  for (const [index, agent] of agents.entries()) {
    const localAddress = `127.44.21.${50 + index}`;
    replies.push(await transit.ask(vault, encryptPath(VAULT), { plaintext: "" }, { agent, localAddress }));
  }
  expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200, 429, 429]);
  expect(replies.at(-1)).toMatchObject({
    body: { errors: ["too many connections of this workload"] },
    headers: { "retry-after": "1" },
  });
  await serves();
  for (const agent of agents) agent.destroy();
});

test("idle connections of one source keep nobody out", async () => {
  const idle = await Promise.all(Array.from({ length: 5 }, () => open()));
  await serves();
  for (const socket of idle) socket.destroy();
});

test("curl reads why, without a certificate", async () => {
  const resolve = `coordinator.contrast.internal:8200:${ADDRESS}`;
  const url = "https://coordinator.contrast.internal:8200/v1/transit/encrypt/x";
  const { stdout } = await run("curl", ["-s", "-m", "5", "-k", "-w", " %{http_code}", "--resolve", resolve, url]);
  expect(stdout).toBe('{"errors":["permission denied: the client shows no certificate"]}\n 403');
});
