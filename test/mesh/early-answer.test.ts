import http from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { once } from "node:events";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import { connectPlain, connectSecurely, ending, freePort, startLiveProxy, startServer } from "../mesh-proxies.ts";

/**
 * Servers that answer an upload before it has come, and close. Their kernels send a reset, because of what they have not
 * read. The client has the answer all the same.
 */

const MUTUAL = "127.77.14.1";
const OPEN = "127.77.14.2";
const PASSED = "127.77.14.3";
const EGRESS = "127.77.14.4";
const APPLICATION = "127.77.14.5";

const UPLOAD = Buffer.alloc(10_000_000);
const EARLY = 64 * 1024;
const BODY = "too large\n".repeat(500);
const TIMES = 10;

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue({ sans: ["server"] });
});

/** Starts every way to an application, and a way where the client speaks TLS. */
async function startWays(port: number): Promise<void> {
  const ingress = { CONTRAST_INGRESS_MODE: "bind", CONTRAST_INGRESS_TARGET: APPLICATION };
  const others = `${await freePort(APPLICATION)}`;
  const start = async (bind: string, rules: string, ports: string): Promise<unknown> =>
    startLiveProxy(mesh, workload, {
      ...ingress,
      CONTRAST_INGRESS_PROXY_CONFIG: rules,
      CONTRAST_INGRESS_BIND: bind,
      CONTRAST_INGRESS_PORTS: ports,
    });
  await start(MUTUAL, "", `${port}`);
  await start(OPEN, `app#${port}#false`, others);
  await start(PASSED, `app#${port}#true`, others);
  await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${EGRESS}:${port}#${MUTUAL}:${port}#server`,
  });
}

const WAYS = [
  { way: "TLS", host: OPEN, isTls: true },
  { way: "passed through", host: PASSED, isTls: false },
  { way: "egress and ingress", host: EGRESS, isTls: false },
] as const;

test("by every way, a client of HTTP has the whole answer of a server that refuses its upload", async () => {
  const server = http.createServer((request, response) => {
    let length = 0;
    request.on("error", () => {});
    request.on("data", (bytes: Buffer) => {
      length += bytes.length;
      if (length < EARLY || response.headersSent) return;
      request.pause();
      response.writeHead(413, { connection: "close" }).end(BODY, () => request.destroy());
    });
  });
  server.listen(0, APPLICATION);
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await startWays(port);
  const answers: string[] = [];
  for (const { way, host, isTls } of WAYS) {
    for (let i = 0; i < TIMES; i++) answers.push(`${way}: ${await upload(host, port, isTls)}`);
  }
  expect(answers.filter((answer) => !answer.endsWith(": whole"))).toEqual([]);
});

async function upload(host: string, port: number, isTls: boolean): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const options = { host, port, method: "POST", agent: false, headers: { "content-length": UPLOAD.length } } as const;
  const tls = { ca: mesh.meshCa, checkServerIdentity: () => undefined };
  const request = isTls ? https.request({ ...options, ...tls }) : http.request(options);
  let hasAnswer = false;
  request.on("error", (error) => void (hasAnswer || resolve(String(error))));
  request.on("response", (response) => {
    hasAnswer = true;
    let text = "";
    response.on("data", (bytes) => (text += String(bytes)));
    response.on("error", (error) => resolve(String(error)));
    response.on("end", () => {
      resolve(response.statusCode === 413 && text === BODY ? "whole" : `a part: ${text.length}`);
      request.destroy();
    });
  });
  request.end(UPLOAD);
  return promise;
}

describe.each(WAYS)("by way of $way", ({ host, isTls }) => {
  test("an answer that its server broke off is no whole one", async () => {
    const port = await startServer(APPLICATION, (socket) => {
      answerEarly(socket, (answer) => socket.write(answer, () => socket.resetAndDestroy()));
    });
    await startWays(port);
    const client = isTls ? connectSecurely(mesh, undefined, { host, port }) : connectPlain(host, port);
    const received: Buffer[] = [];
    client.on("data", (bytes: Buffer) => received.push(bytes));
    client.write(UPLOAD);
    expect(await ending(client)).toMatch(/^(ECONNRESET|EPIPE)$/);
    expect(Buffer.concat(received).toString()).toBe(BODY);
  });
});

/** @param answer is called when the beginning of the upload is there; nothing more is read then */
function answerEarly(socket: Socket, answer: (body: string) => void): void {
  let length = 0;
  socket.on("data", function take(bytes: Buffer) {
    length += bytes.length;
    if (length < EARLY) return;
    socket.off("data", take).pause();
    answer(BODY);
  });
}
