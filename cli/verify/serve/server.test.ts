import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pageServer } from "./server.ts";

const POLICY = "default-src 'none'; script-src 'sha256-abc'";
const PAGE = "<!doctype html><title>page</title>";

let server: Server;
let port: number;

beforeAll(async () => {
  server = pageServer({ bytes: Buffer.from(PAGE), policy: POLICY });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
});

/** Sends these bytes as they stand. @returns all that comes back until the connection ends */
async function send(text: string): Promise<{ readonly head: string; readonly body: string }> {
  const socket = connect(port, "127.0.0.1");
  socket.write(text, "latin1");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.on("close", resolve));
  const [head = "", body = ""] = Buffer.concat(chunks).toString().split("\r\n\r\n");
  return { head: head.toLowerCase(), body };
}

const request = (method: string, path: string, host = `127.0.0.1:${port}`, more = ""): string =>
  `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${more}\r\n`;

test.each(["/", "/index.html"])("%s is the page, under its own policy, in nobody's frame", async (path) => {
  const { head, body } = await send(request("GET", path));
  expect(head).toMatch(/^http\/1.1 200 ok\r\n/);
  expect(body).toBe(PAGE);
  for (const line of [
    "content-type: text/html; charset=utf-8",
    `content-security-policy: ${POLICY}; frame-ancestors 'none'`,
    "x-frame-options: deny",
    "x-content-type-options: nosniff",
    "referrer-policy: no-referrer",
    "cross-origin-opener-policy: same-origin",
    "cross-origin-resource-policy: same-origin",
    "cache-control: no-store",
  ]) {
    expect(head.split("\r\n")).toContain(line);
  }
  expect(head).not.toContain("access-control-allow");
});

test("HEAD has no body", async () => {
  const { head, body } = await send(request("HEAD", "/"));
  expect(head).toContain(`content-length: ${PAGE.length}`);
  expect(body).toBe("");
});

test.each([
  "/../package.json",
  "/..%2f..%2fpackage.json",
  "/%2e%2e/%2e%2e/etc/passwd",
  "//etc/passwd",
  "/./index.html",
  "/index.html/",
  "/index.html%00",
  "/index.html?x=1",
  "/verifier.js",
  "/favicon.ico",
  "*",
])("there is nothing else: %s", async (path) => {
  const { head, body } = await send(request("GET", path));
  expect(head).toMatch(/^http\/1.1 404 /);
  expect(head).toContain("content-security-policy: default-src 'none'");
  expect(body).toBe("there is one page, /\n");
});

test.each([
  "evil.example",
  "evil.example:80",
  "localhost.evil.example",
  "127.0.0.1.evil.example",
  "127.1",
  "",
  "[::1",
  "a:b:c",
])("the host %j is not believed: its name may have been made to lead here", async (host) => {
  const { head, body } = await send(request("GET", "/", host));
  expect(head).toMatch(/^http\/1.1 421 /);
  expect(body).not.toContain("page</title>");
});

test.each(["localhost", "LocalHost:9", "127.0.0.1", "127.0.0.2:99", "[::1]:8080", "[::1]", "192.0.2.1:80"])(
  "the host %s is an address, or localhost, which no foreign site has",
  async (host) => {
    expect((await send(request("GET", "/", host))).head).toMatch(/^http\/1.1 200 /);
  },
);

test("without a host, or with two, there is no page", async () => {
  expect((await send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")).head).toMatch(/^http\/1.1 400 /);
  const two = await send(request("GET", "/", undefined, "Host: evil.example\r\n"));
  expect(two.body).not.toContain("evil.example");
  const absolute = await send(request("GET", "http://evil.example/", undefined));
  expect(absolute.head).toMatch(/^http\/1.1 404 /);
});

test.each(["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])("%s is not for a page", async (method) => {
  const { head } = await send(request(method, "/"));
  expect(head).toMatch(/^http\/1.1 405 /);
  expect(head).toContain("allow: get, head");
});

test("CONNECT and an upgrade lead nowhere", async () => {
  expect((await send(request("CONNECT", "evil.example:443"))).head).toBe("");
  const upgrade = await send(
    request("GET", "/", undefined, "Upgrade: websocket\r\n").replace("close", "Upgrade, close"),
  );
  expect(upgrade.head).not.toMatch(/^http\/1.1 101 /);
});

test("what comes behind a body is no second request", async () => {
  const smuggled = request("GET", "/");
  const more = `Content-Length: ${smuggled.length}\r\n`;
  const { head, body } = await send(request("GET", "/", undefined, more).replace("close", "keep-alive") + smuggled);
  expect(head).toMatch(/^http\/1.1 413 /);
  expect(head).toContain("connection: close");
  expect(body).not.toContain("200 OK");
  const chunked = await send(
    request("GET", "/", undefined, "Transfer-Encoding: chunked\r\n").replace("close", "keep-alive"),
  );
  expect(chunked.head).toMatch(/^http\/1.1 413 /);
});

test("headers of a megabyte end the connection, and so does half a request", async () => {
  const { head } = await send(request("GET", "/", undefined, `X: ${"x".repeat(2 ** 20)}\r\n`));
  expect(head).not.toMatch(/ 200 /);
  const { body } = await send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n");
  expect(body).toBe("");
}, 20_000);
