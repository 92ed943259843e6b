import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { PERMIT_HEADER } from "../../api/http/permit.ts";
import { SetAnswer } from "../../api/http/set.ts";
import { toHex } from "../../bytes/encode.ts";
import { type KeyPair, spkiDigest } from "../../pki/keys.ts";
import { COORDINATOR, manifestFor, type ManifestChanges } from "../peers/test-coordinator.ts";
import { startAttest, type TestAttest } from "./test-attest.ts";
import { changeOf } from "./test-changes.ts";

/** Changes of the manifest over HTTP, as owners' tools send them, and as whoever is in between would like them. */

const ADDRESS = "127.108.1.2";
const REQUEST_MS = 600;
const stranger: KeyPair = generateKeyPairSync("ec", { namedCurve: "P-256" });
let coordinator: TestAttest;
let owner: KeyPair;

beforeAll(async () => {
  coordinator = await startAttest(ADDRESS, { limits: { requestMs: REQUEST_MS } });
  owner = coordinator.deployment.ownerKeys;
});

/** Whatever happened, nothing stays taken. */
afterEach(async () => {
  await expect.poll(() => coordinator.requests().used).toBe(0);
});

afterAll(() => coordinator.remove());

type Swap = Parameters<typeof changeOf>[2];
let names = 0;

/** A change that the owner signed, after what is in force. */
function change(swap?: Swap, changes: ManifestChanges = {}, owners: readonly KeyPair[] = [owner]) {
  const parts = manifestFor(coordinator.deployment, { name: `web-${names++}`, ...changes });
  return { ...parts, ...changeOf(coordinator.guard(), { ...parts, owners }, swap) };
}

const set = async (request: Parameters<TestAttest["ask"]>[1]) => coordinator.ask("/v1/set", request);
const latest = () => coordinator.guard().active().latest.transition;

async function refuses(request: Parameters<TestAttest["ask"]>[1], status: number, code: string): Promise<string> {
  const before = latest();
  const reply = await set(request);
  expect(reply.body, code).toMatchObject({ status, code });
  expect(reply.status).toBe(status);
  expect(latest()).toBe(before);
  return String(reply.body?.["detail"]);
}

test("the first manifest is not set over HTTP", async () => {
  const { status, body } = await set({ method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  expect(status).toBe(403);
  expect(body).toMatchObject({ code: "channel_required" });
  await coordinator.set();
});

test("what an owner signed comes into force, and the audit log says who carried it", async () => {
  const before = latest();
  const { status, body } = await set(change());
  expect(status).toBe(200);
  const answer = SetAnswer.parse(body);
  expect(answer).toEqual({ version: 1, outcome: "set", transition: latest() });
  expect(latest()).not.toBe(before);
  const told = coordinator.audited.find(({ event }) => event === "manifest_set");
  expect(told).toMatchObject({ owner: toHex(spkiDigest(owner.publicKey)), transition: latest() });
  expect(told).toHaveProperty("peer", expect.stringMatching(/^127\./));
  expect(told).not.toHaveProperty("key");
});

test("policies that the history in force has need not be sent; others do", async () => {
  expect((await set(change((body) => ({ ...body, policies: [] })))).status).toBe(200);
  const next = Buffer.from("the policy of the next Coordinator");
  const changes = { coordinators: [COORDINATOR, next] };
  await refuses(
    change((body) => ({ ...body, policies: [] }), changes),
    400,
    "policy_mismatch",
  );
  expect((await set(change((body) => ({ ...body, policies: [next.toString("base64")] }), changes))).status).toBe(200);
});

test("nothing of a body is read before an owner's signature says that it may be", async () => {
  const good = change();
  const without = (permit?: string) => ({
    ...good,
    headers: { "content-type": "application/json", ...(permit === undefined ? {} : { [PERMIT_HEADER]: permit }) },
  });
  const [digest = "", key = "", signature = ""] = String(good.headers[PERMIT_HEADER]).split(" ");
  const other = Buffer.from(signature, "base64").fill(7, 10, 12).toString("base64");
  await refuses(without(), 403, "permit_missing");
  await refuses(without("x"), 403, "permit_missing");
  await refuses(without(`${digest} ${key}`), 403, "permit_missing");
  await refuses(without(`${digest} ${key} ${signature} ${signature}`), 403, "permit_missing");
  await refuses(without(`${digest.toUpperCase()} ${key} ${signature}`), 403, "permit_missing");
  await refuses(without(`${digest} ${key} ${other}`), 403, "bad_signature");
  await refuses(without(`${"00".repeat(32)} ${key} ${signature}`), 403, "bad_signature");
  await refuses(change(undefined, {}, [stranger]), 403, "not_owner");
  // 10 MB are announced, and none of them is waited for.
  const socket = await open(["Content-Length: 10000000"]);
  expect(await said(socket)).toMatch(/^HTTP\/1\.1 403 Forbidden[\s\S]*"code":"permit_missing"/);
});

test("what is in between can't swap what was signed", async () => {
  const evil = manifestFor(coordinator.deployment, { owners: [stranger] });
  await refuses(
    change((body) => ({ ...body, manifest: evil.manifest.toString("base64") })),
    400,
    "malformed_request",
  );
  await refuses(
    change((body) => ({ ...body, policies: [Buffer.from("another policy").toString("base64")] })),
    400,
    "policy_mismatch",
  );
  const signed = change().body;
  const { signatures } = JSON.parse(signed) as { signatures: unknown };
  await refuses(
    change((body) => ({ ...body, signatures })),
    403,
    "bad_signature",
  );
  await refuses(
    change((body) => ({ ...body, latestTransition: "ab".repeat(32) })),
    409,
    "conflict",
  );
  // Nobody signs it, so nobody between may ask for it.
  await refuses(
    change((body) => ({ ...body, revoke: true })),
    400,
    "malformed_request",
  );
});

test("a change that was made is not made again", async () => {
  const once = change();
  expect((await set(once)).status).toBe(200);
  await refuses(once, 403, "bad_signature");
  expect((await set(change())).status).toBe(200);
  await refuses(once, 403, "bad_signature");
});

test("a body that is none is refused, and what it would become in memory is not made", async () => {
  const good = change();
  for (const body of ["", "x", "[]", "{}", "\0".repeat(100), `"${"x".repeat(2e6)}"`]) {
    await refuses({ ...good, body }, 400, "malformed_request");
  }
  for (const body of [`[${"{},".repeat(400_000)}{}]`, "[".repeat(1_000_000), `[${"0,".repeat(400_000)}0]`]) {
    expect(await refuses({ ...good, body }, 400, "malformed_request")).toBe(
      "the body has more parts than a request has",
    );
  }
  await refuses({ ...good, body: good.body.replace("=", "!") }, 400, "malformed_request");
  await refuses({ ...good, headers: { ...good.headers, "content-type": "text/plain" } }, 415, "unsupported_media_type");
});

test("a body has to say its length, and fit into the memory that there is", async () => {
  const { headers } = change();
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const chunked = await open([...lines, "Transfer-Encoding: chunked"]);
  expect(await said(chunked)).toContain('"code":"length_required"');
  const long = await open([...lines, "Content-Length: 100000000"]);
  expect(await said(long)).toMatch(/^HTTP\/1\.1 413 [\s\S]*"code":"request_too_large"/);
  const { perSource } = coordinator.requests().limits;
  const third = Math.floor(perSource / 4 / 3);
  const slow = await Promise.all([1, 2, 3].map(() => open([...lines, `Content-Length: ${third}`])));
  await expect.poll(() => coordinator.requests().used).toBeGreaterThan(third * 4 * 2.9);
  const more = await open([...lines, `Content-Length: ${third}`]);
  expect(await said(more)).toMatch(/^HTTP\/1\.1 429 [\s\S]*"code":"too_many_requests"/);
  // The rest of the budget is the attested channel's.
  expect(coordinator.requests().reserve("203.0.113.1", perSource)?.release()).toBeUndefined();
  for (const socket of slow) socket.destroy();
  await expect.poll(() => coordinator.requests().used).toBe(0);
});

test("a slow body has an end", async () => {
  const { headers, body } = change();
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const socket = await open([...lines, `Content-Length: ${body.length}`]);
  const timer = setInterval(() => socket.write(" "), 50);
  expect(await said(socket)).toMatch(/^HTTP\/1\.1 408 [\s\S]*"code":"request_too_slow"/);
  clearInterval(timer);
});

test("a change that takes more owners waits for them, and the last one makes it", async () => {
  const [first, second] = [owner, generateKeyPairSync("ec", { namedCurve: "P-256" })];
  expect((await set(change(undefined, { owners: [first, second] }))).status).toBe(200);
  const { manifest, policies } = manifestFor(coordinator.deployment, { owners: [first, second] });
  const parts = (name: string) => {
    const document = JSON.parse(manifest.toString().replace('"web"', `"${name}"`)) as object;
    return { manifest: Buffer.from(JSON.stringify({ ...document, WorkloadOwnerThreshold: 2 })), policies };
  };
  expect((await set(changeOf(coordinator.guard(), { ...parts("two"), owners: [first] }))).status).toBe(200);
  const before = latest();
  const next = parts("three");
  const pending = await set(changeOf(coordinator.guard(), { ...next, owners: [first] }));
  expect(SetAnswer.parse(pending.body)).toMatchObject({ outcome: "pending", missing: 1, revoke: false });
  expect(latest()).toBe(before);
  const done = await set(changeOf(coordinator.guard(), { ...next, owners: [second] }));
  expect(SetAnswer.parse(done.body)).toEqual({ version: 1, outcome: "set", transition: latest() });
});

test("no page of another origin can send one", async () => {
  const headers = {
    origin: "https://evil.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": `content-type, ${PERMIT_HEADER}`,
  };
  const reply = await coordinator.ask("/v1/set", { method: "OPTIONS", headers });
  expect(String(reply.headers["access-control-allow-headers"]).toLowerCase()).not.toContain(PERMIT_HEADER);
});

test("a Coordinator that needs recovery reads no change", async () => {
  const request = change();
  await coordinator.restart();
  const { status, body } = await set(request);
  expect(status).toBe(503);
  expect(body).toMatchObject({ code: "needs_recovery" });
});

async function open(lines: readonly string[]): Promise<Socket> {
  const socket = connect(1314, ADDRESS);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.write(["POST /v1/set HTTP/1.1", "Host: x", "content-type: application/json", ...lines, "", ""].join("\r\n"));
  await delay(20);
  return socket;
}

/** All that the server says until it ends the connection. */
async function said(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (bytes: Buffer) => (text += bytes.toString()));
  if (!socket.closed) await once(socket, "close");
  return text;
}
