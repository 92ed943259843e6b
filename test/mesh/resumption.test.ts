import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { createServer, type ConnectionOptions, type TLSSocket } from "node:tls";
import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { TICKET_KEY_LIFETIME_MS } from "../../mesh-proxy/credentials/live-credentials.ts";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  readAll,
  refusals,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../mesh-proxies.ts";
import { ONLY_NATIVE } from "../ways.ts";
import { renew } from "./through-mesh.ts";

/** Sessions are resumed, but never past the trust they came from. */

const PROXY = "127.77.1.1";
const APPLICATION = "127.77.1.2";
const UPSTREAM = "127.77.1.3";

let mesh: Mesh;
let newMesh: Mesh;
let server: Workload;
let client: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  newMesh = await createMesh();
  server = await mesh.issue({ sans: ["server"] });
  client = await mesh.issue({ sans: ["client"] });
});

async function startIngress(): Promise<{ proxy: StartedProxy; port: number; other: number }> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const other = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(mesh, server, {
    ...bindIngress(PROXY, APPLICATION, port, other),
    CONTRAST_INGRESS_ALLOW: `${other}=somebody-else`,
    CONTRAST_TLS_MIN: "1.2",
  });
  return { proxy, port, other };
}

interface Visit {
  readonly isReused: boolean;
  readonly session: Buffer;
}

/** A connection from its beginning to its clean end. */
async function visit(port: number, options: ConnectionOptions = {}, of = mesh, as = client): Promise<Visit> {
  const socket: TLSSocket = connectSecurely(of, as, { host: PROXY, port, ...options });
  const [session] = (await once(socket, "session")) as [Buffer];
  const isReused = socket.isSessionReused();
  socket.end("hello");
  expect(String(await readAll(socket))).toBe("hello");
  return { isReused, session };
}

describe.each(["TLSv1.3", "TLSv1.2"] as const)("%s", (maxVersion) => {
  test("a session is resumed", async () => {
    const { port } = await startIngress();
    const { session } = await visit(port, { maxVersion });
    const resumed = connectSecurely(mesh, client, { host: PROXY, port, maxVersion, session });
    await once(resumed, "secureConnect");
    expect(resumed.isSessionReused()).toBe(true);
  });

  test("a session from before a change of the CA does not resume", async () => {
    const { proxy, port } = await startIngress();
    const { session } = await visit(port, { maxVersion });
    await renew(proxy, newMesh, await newMesh.issue());
    const again = await visit(port, { maxVersion, session }, newMesh, await newMesh.issue());
    expect(again.isReused).toBe(false);
    // Whoever has nothing but the old certificate does not get in with its session.
    const old = connectSecurely(mesh, client, { host: PROXY, port, maxVersion, session, rejectUnauthorized: false });
    old.write("hello");
    expect(await ending(old)).not.toBe("clean");
    await expect.poll(() => refusals(proxy.lines)).toMatchObject([{ code: "client_certificate_untrusted" }]);
  });

  test("a session from before a change of the proxy's certificate does not resume", async () => {
    const { proxy, port } = await startIngress();
    const { session } = await visit(port, { maxVersion });
    await renew(proxy, mesh, await mesh.issue());
    expect((await visit(port, { maxVersion, session })).isReused).toBe(false);
  });

  test("a session of an hour ago does not resume", async () => {
    vi.useFakeTimers({ toFake: ["setInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const { port } = await startIngress();
    const { session } = await visit(port, { maxVersion });
    vi.advanceTimersByTime(TICKET_KEY_LIFETIME_MS - 1);
    const resumed = connectSecurely(mesh, client, { host: PROXY, port, maxVersion, session });
    await once(resumed, "secureConnect");
    expect(resumed.isSessionReused()).toBe(true);
    vi.advanceTimersByTime(1);
    expect((await visit(port, { maxVersion, session })).isReused).toBe(false);
  });

  test("a session that was begun where the client may connect opens no port where it may not", async () => {
    const { proxy, port, other } = await startIngress();
    const { session } = await visit(port, { maxVersion });
    const socket = connectSecurely(mesh, client, { host: PROXY, port: other, maxVersion, session });
    await once(socket, "secureConnect");
    expect(socket.isSessionReused()).toBe(true);
    expect(await ending(socket)).toBe("ECONNRESET");
    await expect
      .poll(() => refusals(proxy.lines))
      .toMatchObject([{ code: "client_identity", got: "DNS:client", want: "somebody-else" }]);
  });

  test("a client that was refused can't come back with a session of that attempt", async () => {
    const { proxy, port } = await startIngress();
    const stranger = await newMesh.issue();
    let session: Buffer | undefined;
    const first = connectSecurely(mesh, stranger, { host: PROXY, port, maxVersion });
    first.on("session", (ticket) => (session = ticket));
    await ending(first);
    const second = connectSecurely(mesh, stranger, { host: PROXY, port, maxVersion, session });
    expect(await ending(second)).not.toBe("clean");
    const untrusted = { code: "client_certificate_untrusted" };
    await expect.poll(() => refusals(proxy.lines)).toMatchObject([untrusted, untrusted]);
  });
});

/** An upstream of the mesh that tells of each connection whether its session was resumed. */
async function startUpstream(workload: Workload): Promise<{ port: number; isReused: boolean[] }> {
  const isReused: boolean[] = [];
  const { certChain: cert, key } = workload;
  const upstream = createServer({ cert, key, ca: [mesh.meshCa, newMesh.meshCa], requestCert: true });
  const accept = (socket: TLSSocket): void => {
    isReused.push(socket.isSessionReused());
    socket.pipe(socket);
  };
  return { port: await startServer(UPSTREAM, (socket) => accept(socket as TLSSocket), upstream), isReused };
}

async function echo(port: number): Promise<string> {
  const socket = connectPlain(PROXY, port);
  socket.write("hello");
  const [answer] = (await once(socket, "data")) as [Buffer];
  socket.end();
  await readAll(socket);
  return String(answer);
}

test("the egress forgets its session when its certificates change", async () => {
  const { port, isReused } = await startUpstream(await mesh.issue());
  const rule = { CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${port}#${UPSTREAM}:${port}` };
  const proxy = await startLiveProxy(mesh, client, rule);
  for (let i = 0; i < 2; i++) expect(await echo(port)).toBe("hello");
  await renew(proxy, mesh, await mesh.issue());
  for (let i = 0; i < 2; i++) expect(await echo(port)).toBe("hello");
  expect(isReused).toEqual([false, true, false, true]);
});

test("the egress does not resume a session with an upstream that the new CA does not know", async () => {
  const { port, isReused } = await startUpstream(await mesh.issue());
  const rule = { CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${port}#${UPSTREAM}:${port}` };
  const proxy = await startLiveProxy(mesh, client, rule);
  expect(await echo(port)).toBe("hello");
  await renew(proxy, newMesh, await newMesh.issue());
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNRESET");
  await expect.poll(() => refusals(proxy.lines)).toMatchObject([{ code: "upstream_untrusted" }]);
  expect(isReused.filter((reused) => reused)).toEqual([]);
});

/** Of a client's first message: the names of sessions that it would resume (RFC 8446 §4.2.11). */
function sessionsOf(hello: Buffer): string[] {
  const session = 5 + 4 + 2 + 32;
  const suites = session + 1 + hello.readUInt8(session);
  const compression = suites + 2 + hello.readUInt16BE(suites);
  let at = compression + 1 + hello.readUInt8(compression) + 2;
  while (at < hello.length) {
    const [kind, length] = [hello.readUInt16BE(at), hello.readUInt16BE(at + 2)];
    if (kind === 41) return [hello.toString("hex", at + 8, at + 8 + hello.readUInt16BE(at + 6))];
    at += 4 + length;
  }
  return [];
}

test.skipIf(ONLY_NATIVE !== "")(`the egress uses each session once, also at the same time${ONLY_NATIVE}`, async () => {
  const { port, isReused } = await startUpstream(await mesh.issue());
  const sessions: string[] = [];
  const network = createTcpServer({ allowHalfOpen: true }, (client) => {
    client
      .on("error", () => {})
      .once("data", (hello: Buffer) => {
        sessions.push(...sessionsOf(hello));
        const upstream = connectPlain(UPSTREAM, port);
        upstream.write(hello);
        client.pipe(upstream).pipe(client);
      });
  });
  const between = await startServer(UPSTREAM, () => {}, network);
  const rule = { CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${port}#${UPSTREAM}:${between}` };
  await startLiveProxy(mesh, client, rule);
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all(Array.from({ length: 4 }, async () => echo(port)));
    expect(answers).toEqual(["hello", "hello", "hello", "hello"]);
  }
  expect(isReused).toHaveLength(20);
  expect(sessions.length).toBeGreaterThan(10);
  expect(isReused.filter((reused) => reused)).toHaveLength(sessions.length);
  expect(new Set(sessions).size).toBe(sessions.length);
});
