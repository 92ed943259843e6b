import { once } from "node:events";
import { createServer, type ConnectionOptions, type TlsOptions, type TLSSocket } from "node:tls";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  refusals,
  startLiveProxy,
  startServer,
} from "../mesh-proxies.ts";

/** What TLS the proxy speaks: versions, groups, cipher suites. */

const PROXY = "127.77.3.1";
const APPLICATION = "127.77.3.2";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

async function startIngress(oldest: "1.2" | "1.3"): Promise<{ port: number; codes: () => unknown[] }> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const { lines } = await startLiveProxy(mesh, workload, {
    ...bindIngress(PROXY, APPLICATION, port),
    CONTRAST_TLS_MIN: oldest,
  });
  return { port, codes: () => refusals(lines).map(({ code }) => code) };
}

/** A connection that the proxy accepts. */
async function secure(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connectSecurely(mesh, workload, { host: PROXY, port, ...options });
  socket.write("hello");
  await once(socket, "data");
  return socket;
}

const group = (socket: TLSSocket): unknown => (socket.getEphemeralKeyInfo() as { name?: string }).name;

test.each([
  ["X25519MLKEM768", "X25519MLKEM768"],
  ["X25519", "X25519"],
  ["P-256", "prime256v1"],
  // The client begins with the group that it likes best, and is asked for the other one.
  ["*X25519:X25519MLKEM768", "X25519MLKEM768"],
  ["P-256:X25519:X25519MLKEM768", "X25519MLKEM768"],
])("a client with the groups %s gets %s", async (ecdhCurve, chosen) => {
  const { port } = await startIngress("1.3");
  expect(group(await secure(port, { ecdhCurve }))).toBe(chosen);
});

test("a client with another group is refused", async () => {
  const { port, codes } = await startIngress("1.3");
  expect(await ending(connectSecurely(mesh, workload, { host: PROXY, port, ecdhCurve: "P-384" }))).not.toBe("clean");
  await expect.poll(codes).toEqual(["tls_handshake"]);
});

test("TLS 1.2 is refused unless it is allowed", async () => {
  const { port, codes } = await startIngress("1.3");
  const socket = connectSecurely(mesh, workload, { host: PROXY, port, maxVersion: "TLSv1.2" });
  expect(await ending(socket)).toBe("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
  await expect.poll(codes).toEqual(["tls_handshake"]);
});

test("where TLS 1.2 is allowed, 1.3 is still preferred", async () => {
  const { port } = await startIngress("1.2");
  expect((await secure(port, {})).getProtocol()).toBe("TLSv1.3");
});

test("TLS 1.1 is never spoken", async () => {
  const { port, codes } = await startIngress("1.2");
  const options = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  expect(await ending(connectSecurely(mesh, workload, { host: PROXY, port, ...options }))).not.toBe("clean");
  await expect.poll(codes).toEqual(["tls_handshake"]);
});

test.each(["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"])(
  "a client of TLS 1.2 may use %s",
  async (ciphers) => {
    const { port } = await startIngress("1.2");
    const socket = await secure(port, { maxVersion: "TLSv1.2", ciphers });
    expect(socket.getProtocol()).toBe("TLSv1.2");
    expect(socket.getCipher().name).toBe(ciphers);
  },
);

test.each(["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-CCM"])(
  "a client of TLS 1.2 may not use %s",
  async (ciphers) => {
    const { port, codes } = await startIngress("1.2");
    const options = { maxVersion: "TLSv1.2", ciphers } as const;
    expect(await ending(connectSecurely(mesh, workload, { host: PROXY, port, ...options }))).not.toBe("clean");
    await expect.poll(codes).toEqual(["tls_handshake"]);
  },
);

test("a client of TLS 1.2 without the extended master secret is refused", async () => {
  const { port, codes } = await startIngress("1.2");
  // SSL_OP_NO_EXTENDED_MASTER_SECRET, for which Node has no name.
  const options = { maxVersion: "TLSv1.2", secureOptions: 1 } as const;
  // One engine says why, and the other one does not.
  const end = await ending(connectSecurely(mesh, workload, { host: PROXY, port, ...options }));
  expect(["ECONNRESET", "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE"]).toContain(end);
  await expect.poll(codes).toEqual(["tls_handshake"]);
});

/** What the proxy negotiates with an upstream of these options, or how it ends. */
async function egress(oldest: "1.2" | "1.3", options: TlsOptions): Promise<unknown[]> {
  const { certChain: cert, key } = workload;
  const upstream = createServer({ cert, key, ca: mesh.meshCa, requestCert: true, ...options });
  const seen: unknown[] = [];
  const port = await startServer(
    APPLICATION,
    (socket) => {
      const tls = socket as TLSSocket;
      seen.push(tls.getProtocol(), tls.getCipher().name);
      tls.pipe(tls);
    },
    upstream,
  );
  const rule = `a#${PROXY}:${port}#${APPLICATION}:${port}`;
  await startLiveProxy(mesh, workload, { CONTRAST_EGRESS_PROXY_CONFIG: rule, CONTRAST_TLS_MIN: oldest });
  const socket = connectPlain(PROXY, port);
  socket.end("hello");
  return [await ending(socket), ...seen];
}

test("an upstream that speaks only TLS 1.2 is refused unless that is allowed", async () => {
  expect(await egress("1.3", { maxVersion: "TLSv1.2" })).toEqual(["ECONNRESET"]);
  expect(await egress("1.2", { maxVersion: "TLSv1.2" })).toEqual([
    "clean",
    "TLSv1.2",
    expect.stringMatching(/^ECDHE-ECDSA-(AES\d+-GCM|CHACHA20)/),
  ]);
});

test("an upstream that has no cipher suite of TLS 1.2 with an AEAD is refused", async () => {
  const options = { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" } as const;
  expect(await egress("1.2", options)).toEqual(["ECONNRESET"]);
});
