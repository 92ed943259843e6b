import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Problem } from "../../api/http/answers.ts";
import { WORKLOAD } from "../peers/test-coordinator.ts";
import { type AskOptions, asking, drawNonce, startAttest, type TestAttest } from "./test-attest.ts";

/** What the attestation port says to whoever asks for something else than there is. */

const ADDRESS = "127.45.1.2";
const JSON_TYPE = { "content-type": "application/json" };
const POLICY = `/v1/policies/${createHash("sha256").update(WORKLOAD).digest("hex")}`;
let coordinator: TestAttest;

beforeAll(async () => {
  coordinator = await startAttest(ADDRESS);
  await coordinator.set();
});

afterAll(() => coordinator.remove());

const post = (body: string, headers: AskOptions["headers"] = JSON_TYPE): AskOptions => ({
  method: "POST",
  headers,
  body,
});
const nonce = "ab".repeat(32);
const good = JSON.stringify({ nonce });

test.for<[what: string, path: string, options: AskOptions, status: number, code: string]>([
  ["an empty body", "/v1/attest", post(""), 400, "malformed_request"],
  ["no JSON", "/v1/attest", post("nonce"), 400, "malformed_request"],
  ["a list", "/v1/attest", post(`[${good}]`), 400, "malformed_request"],
  ["no nonce", "/v1/attest", post("{}"), 400, "malformed_request"],
  ["null", "/v1/attest", post("null"), 400, "malformed_request"],
  ["31 bytes", "/v1/attest", post(JSON.stringify({ nonce: "ab".repeat(31) })), 400, "malformed_request"],
  ["33 bytes", "/v1/attest", post(JSON.stringify({ nonce: "ab".repeat(33) })), 400, "malformed_request"],
  ["upper case", "/v1/attest", post(JSON.stringify({ nonce: "AB".repeat(32) })), 400, "malformed_request"],
  ["a line end behind", "/v1/attest", post(JSON.stringify({ nonce: `${nonce}\n` })), 400, "malformed_request"],
  ["base64", "/v1/attest", post(JSON.stringify({ nonce: `${"A".repeat(43)}=` })), 400, "malformed_request"],
  ["a number", "/v1/attest", post('{"nonce":1}'), 400, "malformed_request"],
  ["more than is known", "/v1/attest", post(JSON.stringify({ nonce, x: 1 })), 400, "malformed_request"],
  ["a prototype", "/v1/attest", post(`{"__proto__":{"nonce":"${nonce}"}}`), 400, "malformed_request"],
  ["no type", "/v1/attest", post(good, {}), 415, "unsupported_media_type"],
  ["a form", "/v1/attest", post(good, { "content-type": "text/plain" }), 415, "unsupported_media_type"],
  [
    "another charset",
    "/v1/attest",
    post(good, { "content-type": "application/json; charset=utf-16" }),
    415,
    "unsupported_media_type",
  ],
  [
    "a compressed body",
    "/v1/attest",
    post(good, { ...JSON_TYPE, "content-encoding": "gzip" }),
    415,
    "unsupported_media_type",
  ],
  ["1025 bytes", "/v1/attest", post(good.padEnd(1025)), 413, "request_too_large"],
  ["another expectation", "/v1/attest", post(good, { ...JSON_TYPE, expect: "x" }), 417, "unsupported_expectation"],
  ["GET of attest", "/v1/attest", {}, 405, "unsupported_method"],
  ["HEAD of attest", "/v1/attest", { method: "HEAD" }, 405, "unsupported_method"],
  ["PUT of attest", "/v1/attest", { method: "PUT" }, 405, "unsupported_method"],
  ["POST of the history", "/v1/history", post("{}"), 405, "unsupported_method"],
  ["DELETE of a policy", POLICY, { method: "DELETE" }, 405, "unsupported_method"],
  ["TRACE", "/v1/history", { method: "TRACE" }, 405, "unsupported_method"],
  ["the root", "/", {}, 404, "unknown_path"],
  ["no version", "/attest", asking(nonce), 404, "unknown_path"],
  ["another version", "/v2/attest", asking(nonce), 404, "unknown_path"],
  ["a slash behind", "/v1/history/", {}, 404, "unknown_path"],
  ["two slashes", "//v1/history", {}, 404, "unknown_path"],
  ["dots", "/v1/x/../history", {}, 404, "unknown_path"],
  ["an escape", "/v1/hist%6Fry", {}, 404, "unknown_path"],
  ["a query", "/v1/history?x=1", {}, 404, "unknown_path"],
  ["another case", "/V1/history", {}, 404, "unknown_path"],
  ["a member of every object", "/v1/constructor", {}, 404, "unknown_path"],
  ["a list of policies", "/v1/policies", {}, 404, "unknown_path"],
  ["no digest", "/v1/policies/", {}, 404, "unknown_digest"],
  ["more behind a digest", `${POLICY}/x`, {}, 404, "unknown_path"],
  ["a digest in upper case", `/v1/policies/${"AB".repeat(32)}`, {}, 404, "unknown_digest"],
  ["a digest that nobody has", `/v1/policies/${"ab".repeat(32)}`, {}, 404, "unknown_digest"],
  ["a policy as a manifest", POLICY.replace("policies", "manifests"), {}, 404, "unknown_digest"],
  ["transitions", POLICY.replace("policies", "transitions"), {}, 404, "unknown_path"],
  ["seed shares", POLICY.replace("policies", "seedshares"), {}, 404, "unknown_path"],
  ["a file", "/v1/policies/..%2f..%2fetc%2fpasswd", {}, 404, "unknown_digest"],
  ["options of nothing", "/v1/x", { method: "OPTIONS" }, 404, "unknown_path"],
  ["options of all", "*", { method: "OPTIONS" }, 404, "unknown_path"],
])("%s", async ([, path, options, status, code]) => {
  const before = coordinator.reports();
  const reply = await coordinator.ask(path, options);
  expect(reply.status).toBe(status);
  expect(reply.headers).toMatchObject({
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "access-control-allow-origin": "*",
  });
  if (options.method !== "HEAD") expect(Problem.parse(reply.body)).toMatchObject({ status, code });
  if (status === 405) expect(reply.headers["allow"]).toMatch(/^(GET, HEAD|POST), OPTIONS$/);
  expect(coordinator.reports()).toBe(before);
});

test("a document that the store has and the history does not name is answered as one that there never was", async () => {
  // Seed shares are in the history by their digest, and a pointer is in the store: neither is for this API.
  const { latest } = coordinator.guard().active();
  const bodies = new Set<string>();
  for (const digest of [latest.digest, latest.transition, "00".repeat(32)]) {
    for (const kind of ["manifests", "policies", "annexes"]) {
      const { status, text } = await coordinator.ask(`/v1/${kind}/${digest}`);
      expect(status).toBe(404);
      bodies.add(text);
    }
  }
  expect(bodies.size).toBe(1);
});

test("JSON may have spaces, and its type a charset", async () => {
  const headers = { "content-type": "application/json; charset=UTF-8" };
  expect((await coordinator.ask("/v1/attest", post(`\n {\t"nonce" : "${nonce}" }\r\n`, headers))).status).toBe(200);
});

test("a browser may ask before it asks, and reads the answer from any origin without cookies", async () => {
  const headers = {
    origin: "https://verifier.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
  };
  const reply = await coordinator.ask("/v1/attest", { method: "OPTIONS", headers });
  expect(reply).toMatchObject({
    status: 204,
    text: "",
    headers: {
      "access-control-allow-origin": "*",
      "access-control-allow-methods": "POST, OPTIONS",
      "access-control-allow-headers": "Content-Type",
      "access-control-expose-headers": "Retry-After",
    },
  });
  expect(reply.headers).not.toHaveProperty("access-control-allow-credentials");
  const document = await coordinator.ask(POLICY, { method: "OPTIONS", headers });
  expect(document.headers["access-control-allow-methods"]).toBe("GET, HEAD, OPTIONS");
});

test("what has a digest for a name is had once: HEAD and If-None-Match get no body", async () => {
  const got = await coordinator.ask(POLICY);
  const head = await coordinator.ask(POLICY, { method: "HEAD" });
  expect(head).toMatchObject({ status: 200, text: "", headers: { etag: got.headers["etag"] } });
  expect(head.headers["content-length"]).toBe(String(got.bytes.length));
  const tag = String(got.headers["etag"]);
  for (const known of [tag, `W/${tag}`, `"x", ${tag}`, "*"]) {
    const reply = await coordinator.ask(POLICY, { headers: { "if-none-match": known } });
    expect(reply).toMatchObject({ status: 304, text: "", headers: { etag: tag } });
    expect(reply.headers).not.toHaveProperty("content-length");
  }
  expect((await coordinator.ask(POLICY, { headers: { "if-none-match": '"x"' } })).status).toBe(200);
  // What changes has no tag.
  expect((await coordinator.ask("/v1/history", { headers: { "if-none-match": "*" } })).status).toBe(200);
});

/** Sends text over a connection of its own. @returns all that the server says until it ends the connection */
async function say(text: string): Promise<string> {
  const socket = connect(1314, ADDRESS);
  let said = "";
  socket.on("error", () => undefined).on("data", (bytes: Buffer) => (said += bytes.toString()));
  socket.write(text);
  await once(socket, "close");
  return said;
}

const head = (line: string, ...lines: string[]): string => [line, ...lines, "", ""].join("\r\n");

test.for<[string, string]>([
  ["no HTTP", "\0\0\0\0\r\n\r\n"],
  ["TLS", `\x16\x03\x01\0\x05hello\r\n\r\n`],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["a method of no standard", head("STEAL /v1/history HTTP/1.1", "Host: x")],
  ["no host", head("GET /v1/history HTTP/1.1", "Connection: close")],
  ["a long path", head(`GET /${"x".repeat(20_000)} HTTP/1.1`, "Host: x")],
  ["a long header", head("GET /v1/history HTTP/1.1", "Host: x", `X: ${"x".repeat(20_000)}`)],
  ["two lengths", head("POST /v1/attest HTTP/1.1", "Host: x", "Content-Length: 2", "Content-Length: 3")],
  [
    "a length and chunks",
    head("POST /v1/attest HTTP/1.1", "Host: x", "Content-Length: 2", "Transfer-Encoding: chunked"),
  ],
  ["a negative length", head("POST /v1/attest HTTP/1.1", "Host: x", "Content-Length: -1")],
  ["a length with an exponent", head("POST /v1/attest HTTP/1.1", "Host: x", "Content-Length: 1e3")],
  ["a header in two lines", head("GET /v1/history HTTP/1.1", "Host: x", "A: b", " c")],
  ["a bare line feed", "GET /v1/history HTTP/1.1\nHost: x\n\n"],
])("%s is no request of HTTP/1.1", async ([, text]) => {
  const said = await say(text);
  expect(said).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
  expect(said).toMatch(/\r\ncontent-type: application\/problem\+json\r\n/i);
  expect(JSON.parse(said.split("\r\n\r\n")[1] ?? "")).toMatchObject({ code: "malformed_request" });
});

test("a proxy may speak HTTP/1.0, name the whole address, or offer HTTP/2", async () => {
  for (const text of [
    head("GET /v1/capabilities HTTP/1.0"),
    head("GET http://coordinator:1314/v1/capabilities HTTP/1.1", "Host: x", "Connection: close"),
    head(
      "GET /v1/capabilities HTTP/1.1",
      "Host: x",
      "Connection: Upgrade, HTTP2-Settings, close",
      "Upgrade: h2c",
      "HTTP2-Settings: AAMAAABkAAQAAP__",
    ),
  ]) {
    expect(await say(text)).toMatch(/^HTTP\/1\.[01] 200 OK/);
  }
});

test("what a client says of its address counts for nothing", async () => {
  const { status, body } = await coordinator.attest(drawNonce(), {
    headers: {
      ...JSON_TYPE,
      "x-forwarded-for": "203.0.113.1",
      forwarded: "for=203.0.113.1",
      "x-real-ip": "203.0.113.1",
    },
  });
  expect(status).toBe(200);
  expect(JSON.stringify([body, coordinator.log])).not.toContain("203.0.113.1");
});
