import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { answerOne, type HttpRequest, type HttpResponse, printResponse, readRequest } from "./http-request.ts";

const ADDRESS = "127.91.1.1";

const MOST_BYTES = 4 * 1024;

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** Sends pieces on one connection. @returns all that came back, what was asked, and what was refused */
async function send(
  pieces: readonly string[],
  text = "answer",
): Promise<{ back: string; asked: HttpRequest[]; refused: string[] }> {
  const [asked, refused]: [HttpRequest[], string[]] = [[], []];
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    ends.push(() => socket.destroy());
    const answer = async (request: HttpRequest): Promise<HttpResponse> => {
      asked.push(request);
      return { status: 200, type: "text/plain", text };
    };
    answerOne(socket, {
      seen: Buffer.alloc(0),
      mostBytes: MOST_BYTES,
      answer,
      refused: (reason) => refused.push(reason),
    });
  });
  server.listen(0, ADDRESS);
  await once(server, "listening");
  ends.push(() => server.close());
  const socket = connect({ port: (server.address() as AddressInfo).port, host: ADDRESS, noDelay: true });
  socket.on("error", () => undefined);
  let back = "";
  socket.on("data", (piece: Buffer) => (back += piece.toString("latin1")));
  for (const piece of pieces) {
    if (!socket.writable) break;
    await new Promise((resolve) => socket.write(piece, "latin1", resolve));
  }
  if (pieces.length === 0) socket.end();
  await once(socket, "end");
  return { back, asked, refused };
}

const FIELDS = "\r\nhost: a\r\nuser-agent: kube-probe/1.30\r\n\r\n";

test.each([
  ["GET /probe/liveness HTTP/1.1", { method: "GET", path: "/probe/liveness" }],
  ["GET /metrics?a=b HTTP/1.0", { method: "GET", path: "/metrics" }],
  ["POST http://a.example:9102/metrics?x HTTP/1.1", { method: "POST", path: "/metrics" }],
])("%s is understood, in one piece and byte by byte", async (line, request) => {
  for (const pieces of [[line + FIELDS], (line + FIELDS).split("")]) {
    const { back, asked } = await send(pieces);
    expect(asked).toEqual([request]);
    expect(back).toBe(
      "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\nconnection: close\r\n\r\nanswer",
    );
  }
});

test("HEAD has no content, and says how much there would be", async () => {
  const { back } = await send([`HEAD / HTTP/1.1${FIELDS}`]);
  expect(back).toMatch(/^HTTP\/1\.1 200 OK[^]*content-length: 6\r\n[^]*\r\n\r\n$/);
});

test("of a thousand requests in one piece one is answered", async () => {
  const { back, asked } = await send([`GET / HTTP/1.1${FIELDS}`.repeat(1000)]);
  expect(asked).toHaveLength(1);
  expect(back.match(/HTTP\/1\.1/g)).toHaveLength(1);
});

test.each([
  ["another protocol", "\x16\x03\x01"],
  ["no method", "get / HTTP/1.1\r\n\r\n"],
  ["no version", "GET /\r\n\r\n"],
  ["another version", "GET / HTTP/2.0\r\n\r\n"],
  ["a space in the path", "GET /a b HTTP/1.1\r\n\r\n"],
  ["too long a path", `GET /${"a".repeat(3000)} HTTP/1.1\r\n\r\n`],
  ["a head without an end", `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(2000)}`],
])("%s is refused at once", async (_name, text) => {
  const { back, asked, refused } = await send([text]);
  expect(asked).toEqual([]);
  expect(refused).toHaveLength(1);
  expect(back).toMatch(/^HTTP\/1\.1 400 /);
});

test("a head in more pieces than anybody sends is refused", async () => {
  const { refused } = await send(["GET / HTTP/1.1\r\nx: ", ...Array.from({ length: 5000 }, () => "y")]);
  expect(refused).toHaveLength(1);
});

test("who sends without end behind a request is cut off when the answer is there", async () => {
  let closed = false;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    ends.push(() => socket.destroy());
    socket.on("error", () => undefined).on("close", () => (closed = true));
    const answer = async (): Promise<HttpResponse> => ({ status: 200, text: "answer" });
    answerOne(socket, { mostBytes: MOST_BYTES, answer, refused: () => undefined });
  });
  server.listen(0, ADDRESS);
  await once(server, "listening");
  ends.push(() => server.close());
  const socket = connect({ port: (server.address() as AddressInfo).port, host: ADDRESS });
  ends.push(() => socket.destroy());
  socket.on("error", () => undefined).resume();
  const flood = (): void => void (closed || socket.write(Buffer.alloc(64 * 1024, "x"), flood));
  socket.write(`GET / HTTP/1.1${FIELDS}`, flood);
  await expect.poll(() => closed).toBe(true);
});

test("who only looks whether somebody listens is not refused", async () => {
  const { back, refused } = await send([]);
  expect([back, refused]).toEqual(["", []]);
});

const read = (text: string): unknown => readRequest(Buffer.from(text, "latin1"), MOST_BYTES);

test("a request is there when its headers have ended, whatever follows", () => {
  const text = "GET /metrics?a=b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
  for (let length = 0; length < text.length; length++) expect(read(text.slice(0, length))).toBeUndefined();
  for (const more of ["", "x", text]) expect(read(text + more)).toEqual({ method: "GET", path: "/metrics" });
  expect(read("HEAD / HTTP/1.0\r\n\r\n")).toEqual({ method: "HEAD", path: "/" });
});

test.each([
  "\x16\x03\x01",
  "GET\r\n",
  "GET / HTTP/2.0\r\n",
  "GET  / HTTP/1.1\r\n",
  "get / HTTP/1.1\r\n",
  "GET metrics HTTP/1.1\r\n",
  "GET /\0 HTTP/1.1\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "\r\n",
  `GET /${"a".repeat(9_000)}`,
  `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(2_000)}`,
])("%j is no request", (text) => {
  expect(read(text)).toBe("malformed");
});

test("whatever comes, there is an answer to it within so many bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const all = Buffer.concat([Buffer.from(bytes), Buffer.alloc(MOST_BYTES, "a")]);
      expect(readRequest(all, MOST_BYTES)).toBeDefined();
    }),
  );
});

test("a response says how long it is", () => {
  expect(printResponse({ status: 200, text: "é\n" }, "GET")).toBe(
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\nconnection: close\r\n\r\né\n",
  );
  expect(printResponse({ status: 503, text: "not ready\n" }, "HEAD")).toMatch(/content-length: 10\r\n.*\r\n\r\n$/s);
});
