import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { costlyChain, ecKey, longestChain, rsaKey } from "../test/costly-chains.ts";
import { clientHello } from "../test/client-hello.ts";
import { createMesh, type Mesh, type Workload } from "../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  readAll,
  refusals,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../test/mesh-proxies.ts";
import { MOST_HANDSHAKE_BYTES } from "./limits/numbers.ts";

const PROXY = "127.75.0.1";
const APPLICATION = "127.75.0.2";
const BETWEEN = "127.75.0.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

/** An echoing application behind mutual TLS. */
async function startIngress(
  variables: Readonly<Record<string, string>> = {},
): Promise<StartedProxy & { port: number }> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(mesh, workload, { ...bindIngress(PROXY, APPLICATION, port), ...variables });
  return { ...proxy, port };
}

/** Carries what a client sends to the proxy in pieces of so many bytes; the way back is left as it is. */
async function inPieces(size: number, to: { host: string; port: number }): Promise<number> {
  return startServer(BETWEEN, (downstream) => {
    const upstream = connect({ ...to, noDelay: true, allowHalfOpen: true }).on("error", () => downstream.destroy());
    onTestFinished(() => void upstream.destroy());
    upstream.pipe(downstream);
    let last = Promise.resolve();
    const send = async (bytes: Buffer): Promise<void> => {
      for (let at = 0; at < bytes.length; at += size) {
        upstream.write(bytes.subarray(at, at + size));
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    downstream.on("data", (bytes: Buffer) => void (last = last.then(async () => send(bytes))));
    downstream.on("end", () => void last.then(() => upstream.end()));
    downstream.on("close", () => upstream.destroy());
  });
}

test.each([1, 7, 600, 100_000])(
  "a client whose bytes come in pieces of %d is served, to its last byte",
  async (size) => {
    const { port } = await startIngress();
    const between = await inPieces(size, { host: PROXY, port });
    const socket = connectSecurely(mesh, workload, { host: BETWEEN, port: between });
    // With its last words of the handshake, and its end.
    socket.end("hello");
    expect(String(await readAll(socket))).toBe("hello");
  },
);

test("what a client sends together with the end of its handshake is carried, however much it is", async () => {
  const { port } = await startIngress();
  const bytes = Buffer.alloc(3_000_000, "0123456789");
  const socket = connectSecurely(mesh, workload, { host: PROXY, port });
  socket.end(bytes);
  expect((await readAll(socket)).equals(bytes)).toBe(true);
});

test("TLS 1.2 is served, too", async () => {
  const { port } = await startIngress({ CONTRAST_TLS_MIN: "1.2" });
  const between = await inPieces(3, { host: PROXY, port });
  const socket = connectSecurely(mesh, workload, { host: BETWEEN, port: between, maxVersion: "TLSv1.2" });
  socket.end("hello");
  expect(String(await readAll(socket))).toBe("hello");
});

test("a workload with a certificate of 7 KiB is served, and resumes its session, which is in its ticket", async () => {
  const { port } = await startIngress();
  const large = await mesh.issue({
    sans: Array.from({ length: 190 }, (_, index) => `workload-${index}.a-long-name.example`),
  });
  const connectWith = (session?: Buffer): TLSSocket => connectSecurely(mesh, large, { host: PROXY, port, session });
  const first = connectWith();
  const session = once(first, "session") as Promise<[Buffer]>;
  first.end("hello");
  expect(String(await readAll(first))).toBe("hello");
  expect((await session)[0].length).toBeGreaterThan(6_500);
  const second = connectWith((await session)[0]);
  let isReused = false;
  second.once("secureConnect", () => (isReused = second.isSessionReused()));
  second.end("again");
  expect(String(await readAll(second))).toBe("again");
  expect(isReused).toBe(true);
});

test("a chain that just fits is looked at, and one certificate more is not", async () => {
  const { port, lines } = await startIngress();
  const key = ecKey("P-256", 256);
  const fits = longestChain(key, 9_500);
  await ending(connectSecurely(mesh, fits, { host: PROXY, port }));
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "client_certificate_untrusted" }]);
  const certificates = fits.certChain.split("-----BEGIN").length - 1;
  await ending(connectSecurely(mesh, costlyChain(key, certificates + 8), { host: PROXY, port }));
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{}, { code: "handshake_too_large", want: "at most 12288 bytes" }]);
});

test("a chain of 98 KB is refused before anything of it is verified", async () => {
  const { port, lines } = await startIngress();
  const chain = costlyChain(rsaKey(3072, 3071), 74);
  const { user: before } = process.threadCpuUsage();
  const round = async (): Promise<void> => void (await ending(connectSecurely(mesh, chain, { host: PROXY, port })));
  for (let i = 0; i < 5; i++) await round();
  // Five times all of it would be more than two seconds.
  expect((process.threadCpuUsage().user - before) / 1e6).toBeLessThan(1);
  expect(new Set(refusals(lines).map(({ code }) => code))).toEqual(new Set(["handshake_too_large"]));
});

test.each([
  ["one message of 1 MiB", Buffer.from([22, 3, 1, 0x40, 0, 1, 0x10, 0, 0])],
  ["a record of 64 KiB", Buffer.from([22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xfb])],
])("a client that begins with %s is refused", async (_, begin) => {
  const { port, lines } = await startIngress();
  const socket = connectPlain(PROXY, port);
  socket.write(Buffer.concat([begin, Buffer.alloc(MOST_HANDSHAKE_BYTES + 1)]));
  expect(await ending(socket)).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_too_large" }]);
});

test("a client that never stops, after its first message, is refused", async () => {
  const { port, lines } = await startIngress();
  const socket = connectPlain(PROXY, port);
  socket.write(await clientHello());
  await once(socket, "data");
  // An encrypted record that TLS would have to wait for.
  socket.write(Buffer.concat([Buffer.from([23, 3, 3, 0x40, 0x11]), Buffer.alloc(16_000)]));
  expect(await ending(socket)).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_too_large" }]);
});

test("a client that goes away in its handshake is refused as such", async () => {
  const { port, lines, telemetry } = await startIngress();
  connectPlain(PROXY, port).end((await clientHello()).subarray(0, 100));
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "tls_handshake", got: "ECONNRESET" }]);
  const socket = connectPlain(PROXY, port);
  socket.write(await clientHello());
  await once(socket, "data");
  socket.end();
  await expect.poll(() => telemetry.admission.ingress.inside).toBe(0);
});

test("an upstream's chain is bounded as a client's, and what it sends after its handshake is not", async () => {
  const [first, second] = [await freePort(PROXY), await freePort(PROXY)];
  const chain = costlyChain(rsaKey(3072, 3071), 40);
  const hostile = await startServer(
    APPLICATION,
    (socket) => void socket.pipe(socket),
    createTlsServer({ cert: chain.certChain, key: chain.key }),
  );
  const body = Buffer.alloc(1_000_000, "abcdefg");
  const friend = await mesh.issue();
  // It speaks first: its words come with its part of the handshake, or right behind.
  const good = await startServer(
    APPLICATION,
    (socket) => void socket.end(body),
    createTlsServer({ cert: friend.certChain, key: friend.key, ca: mesh.meshCa, requestCert: true }),
  );
  const { lines } = await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${first}#${APPLICATION}:${hostile}##b#${PROXY}:${second}#${APPLICATION}:${good}`,
  });
  expect(await ending(connectPlain(PROXY, first))).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_too_large" }]);
  expect((await readAll(connectPlain(PROXY, second))).equals(body)).toBe(true);
});

test("an upstream that speaks before TLS, without end, is refused", async () => {
  const [listen] = [await freePort(PROXY)];
  const server = createServer((socket: Socket) => {
    const write = (): void => {
      while (!socket.destroyed && socket.write(Buffer.alloc(100_000, "\x17\x03\x03\xff\xff")));
      socket.once("drain", write);
    };
    write();
  });
  const upstream = await startServer(APPLICATION, () => {}, server);
  const { lines } = await startLiveProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${listen}#${APPLICATION}:${upstream}`,
  });
  expect(await ending(connectPlain(PROXY, listen))).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toHaveLength(1);
});
