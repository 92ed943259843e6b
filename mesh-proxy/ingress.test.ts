import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { createMesh, type Mesh, type Workload } from "../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  type LogLine,
  readAll,
  refusals,
  startProxy,
  startServer,
} from "../test/mesh-proxies.ts";
import { ONLY_NATIVE, ONLY_STREAMS } from "../test/ways.ts";
import { DEADLINE_MS } from "./limits/numbers.ts";

const PROXY = "127.73.0.2";
const APPLICATION = "127.73.0.3";
const HOUR = 3_600_000;

let mesh: Mesh;
let server: Workload;
let client: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  server = await mesh.issue({ sans: ["server"] });
  client = await mesh.issue({ sans: ["client"] });
});

interface Ingress {
  readonly port: number;
  readonly lines: LogLine[];
  /** How many connections the application has seen. */
  readonly seen: () => number;
}

/** An application that echoes, behind a proxy whose rule for its port is `#<port>#<rule>`; by default there is none. */
async function startIngress(rule?: "true" | "false", now?: () => Date): Promise<Ingress> {
  let seen = 0;
  const port = await startServer(APPLICATION, (socket) => {
    seen++;
    socket.pipe(socket);
  });
  const lines = await startProxy(
    mesh,
    server,
    {
      CONTRAST_INGRESS_PROXY_CONFIG: rule === undefined ? "" : `web#${port}#${rule}`,
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: PROXY,
      CONTRAST_INGRESS_TARGET: APPLICATION,
      ...(rule === undefined ? { CONTRAST_INGRESS_PORTS: `${port}` } : {}),
    },
    now,
  );
  return { port, lines, seen: () => seen };
}

const at = (port: number): { host: string; port: number } => ({ host: PROXY, port });

async function echo(socket: Socket, text: string): Promise<string> {
  socket.end(text);
  return String(await readAll(socket));
}

test("a workload of the mesh reaches the application", async () => {
  const { port, lines } = await startIngress();
  const socket = connectSecurely(mesh, client, at(port));
  expect(await echo(socket, "hello")).toBe("hello");
  expect(refusals(lines)).toEqual([]);
});

test("a client without a certificate is told so by an alert, and the application never hears of it", async () => {
  const { port, lines, seen } = await startIngress();
  const end = await ending(connectSecurely(mesh, undefined, at(port)));
  expect(end).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
  await expect.poll(() => refusals(lines)).toHaveLength(1);
  await expect
    .poll(() => refusals(lines)[0])
    .toMatchObject({
      level: 40,
      code: "client_certificate_missing",
      route: "ingress (mutual TLS)",
      listener: `${PROXY}:${port}`,
      peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string,
    });
  expect(seen()).toBe(0);
});

test("a client that speaks only TLS 1.2 is refused", async () => {
  const { port, lines } = await startIngress();
  const socket = connectSecurely(mesh, client, { ...at(port), maxVersion: "TLSv1.2" });
  expect(await ending(socket)).toBe("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "tls_handshake" }]);
});

test("garbage is refused with one line of the log and a count, and a good connection goes on", async () => {
  const { port, lines } = await startIngress();
  const good = connectSecurely(mesh, client, at(port));
  good.write("before");
  await once(good, "data");
  for (const garbage of [randomBytes(2_000), Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.alloc(100_000)]) {
    const bad = connectPlain(PROXY, port);
    bad.write(garbage);
    await ending(bad);
  }
  const counted = [{ code: "tls_handshake" }, { code: "tls_handshake", count: 2 }];
  await expect.poll(() => refusals(lines), { timeout: 5_000 }).toMatchObject(counted);
  expect(await echo(good, "after")).toBe("after");
});

test("a client that goes away during the handshake is noticed at once", async () => {
  const { port, lines } = await startIngress();
  const socket = connectPlain(PROXY, port);
  socket.end(Buffer.from("1603010200", "hex"));
  await ending(socket);
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "tls_handshake", got: "ECONNRESET" }]);
});

test("a client that is slow with its handshake is refused, even if it never stops sending", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const { port, lines } = await startIngress();
  const socket = connectPlain(PROXY, port);
  socket.write(Buffer.from("1603010200", "hex"));
  await vi.waitUntil(() => vi.getTimerCount() > 0, { timeout: 5_000 });
  vi.advanceTimersByTime(DEADLINE_MS - 1);
  socket.write("\x01");
  vi.advanceTimersByTime(1);
  expect(await ending(socket)).toBe("ECONNRESET");
  await vi.waitUntil(() => refusals(lines).length > 0, { timeout: 5_000 });
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_timeout" }]);
});

test("where the rule says so, a client needs no certificate", async () => {
  const { port } = await startIngress("false");
  const socket = connectSecurely(mesh, undefined, at(port));
  await once(socket, "secureConnect");
  expect(socket.getPeerX509Certificate()?.subjectAltName).toBe("DNS:server");
  expect(await echo(socket, "hello")).toBe("hello");
});

test.each([
  [["h2"], "h2"],
  [["h2", "http/1.1"], "http/1.1"],
  [["http/1.1"], "http/1.1"],
  [["postgresql"], "postgresql"],
  [undefined, false],
] as const)("a client that offers the protocols %j gets %j", async (offered, chosen) => {
  const { port } = await startIngress();
  const options = offered === undefined ? {} : { ALPNProtocols: [...offered] };
  const socket = connectSecurely(mesh, client, { host: PROXY, port, ...options });
  await once(socket, "secureConnect");
  expect(socket.alpnProtocol).toBe(chosen);
});

test("where TLS is disabled, bytes pass untouched", async () => {
  const { port } = await startIngress("true");
  expect(await echo(connectPlain(PROXY, port), "hello")).toBe("hello");
});

test("an application that does not listen is a reset for the client", async () => {
  const port = await freePort(APPLICATION);
  const lines = await startProxy(mesh, server, { ...bindIngress(PROXY, APPLICATION, port) });
  expect(await ending(connectSecurely(mesh, client, at(port)))).toBe("ECONNRESET");
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{ code: "upstream_refused", where: `${APPLICATION}:${port}`, got: "ECONNREFUSED" }]);
});

/** A session of a connection that the proxy accepted. */
async function sessionOf(socket: TLSSocket): Promise<Buffer> {
  const [session] = (await once(socket, "session")) as [Buffer];
  await echo(socket, "hello");
  return session;
}

// The native engine has no clock but the machine's.
test.skipIf(ONLY_NATIVE !== "")(`a session does not outlive the client's certificate${ONLY_NATIVE}`, async () => {
  const { port, lines } = await startIngress();
  const validForMs = 4_000;
  const until = Date.now() + validForMs;
  const short = await mesh.issue({ validForMs });
  const session = await sessionOf(connectSecurely(mesh, short, at(port)));
  const resumed = connectSecurely(mesh, short, { ...at(port), session });
  await once(resumed, "secureConnect");
  expect(resumed.isSessionReused()).toBe(true);
  await sleep(until + 1_000 - Date.now());
  expect(await ending(connectSecurely(mesh, short, { ...at(port), session }))).toBe("ECONNRESET");
  await expect
    .poll(() => refusals(lines))
    .toMatchObject([{ code: "client_certificate_untrusted", got: "CERT_HAS_EXPIRED" }]);
});

test.skipIf(ONLY_STREAMS !== "")(
  `a client of the mesh may resume its session until its certificate expires${ONLY_STREAMS}`,
  async () => {
    let now = new Date();
    const { port, lines } = await startIngress(undefined, () => now);
    const session = await sessionOf(connectSecurely(mesh, client, at(port)));

    const resumed = connectSecurely(mesh, client, { ...at(port), session });
    await once(resumed, "secureConnect");
    expect(resumed.isSessionReused()).toBe(true);
    expect(await echo(resumed, "hello")).toBe("hello");

    now = new Date(Date.now() + 2 * HOUR);
    expect(await ending(connectSecurely(mesh, client, { ...at(port), session }))).toBe("ECONNRESET");
    await expect
      .poll(() => refusals(lines))
      .toMatchObject([{ code: "client_certificate_untrusted", got: "CERT_HAS_EXPIRED" }]);
  },
);

test("a client that was refused can't come back with a session of that attempt", async () => {
  const { port, lines, seen } = await startIngress();
  const expired = await mesh.issue({ validForMs: -HOUR });
  const first = connectSecurely(mesh, expired, at(port));
  let session: Buffer | undefined;
  first.on("session", (ticket) => (session = ticket));
  await ending(first);
  const second = connectSecurely(mesh, expired, { ...at(port), session });
  second.write("hello");
  await ending(second);
  const code = "client_certificate_untrusted";
  await expect
    .poll(() => refusals(lines), { timeout: 5_000 })
    .toMatchObject([
      { code, got: "CERT_HAS_EXPIRED" },
      { code, count: 1 },
    ]);
  expect(seen()).toBe(0);
});

test("a session that was begun without a certificate opens no port that requires one", async () => {
  const rest = { CONTRAST_INGRESS_MODE: "bind", CONTRAST_INGRESS_BIND: PROXY, CONTRAST_INGRESS_TARGET: APPLICATION };
  const open = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const closed = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const rules = { CONTRAST_INGRESS_PROXY_CONFIG: `web#${open}#false`, CONTRAST_INGRESS_PORTS: `${closed}` };
  const lines = await startProxy(mesh, server, { ...rest, ...rules });
  const session = await sessionOf(connectSecurely(mesh, undefined, at(open)));

  const again = connectSecurely(mesh, undefined, { ...at(open), session });
  await once(again, "secureConnect");
  expect(again.isSessionReused()).toBe(true);

  const end = await ending(connectSecurely(mesh, undefined, { ...at(closed), session }));
  expect(end).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "client_certificate_missing" }]);
});
