import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import type { TLSSocket } from "node:tls";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  freePort,
  readAll,
  refusals,
  startLiveProxy,
  startServer,
} from "../mesh-proxies.ts";

/** What an application is told about a connection, byte by byte as haproxy's doc/proxy-protocol.txt has it. */

const PROXY = "127.77.4.1";
const APPLICATION = "127.77.4.2";

let mesh: Mesh;
let client: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  client = await mesh.issue({ sans: ["web", "spiffe://mesh/web"] });
});

/** An application that answers with what it received, and a proxy before it. */
async function start(rule?: "true" | "false", address = { proxy: PROXY, application: APPLICATION }): Promise<number> {
  const port = await startServer(address.application, (socket) => {
    void readAll(socket).then(
      (bytes) => socket.end(bytes),
      () => {},
    );
  });
  await startBefore(port, rule, address);
  return port;
}

async function startBefore(
  port: number,
  rule?: "true" | "false",
  address = { proxy: PROXY, application: APPLICATION },
) {
  return startLiveProxy(mesh, await mesh.issue(), {
    CONTRAST_INGRESS_PROXY_CONFIG: rule === undefined ? "" : `web#${port}#${rule}`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: address.proxy,
    CONTRAST_INGRESS_TARGET: address.application,
    ...(rule === undefined ? { CONTRAST_INGRESS_PORTS: `${port}` } : {}),
    CONTRAST_INGRESS_PROXY_PROTOCOL: `${port}`,
  });
}

const u16 = (number: number): string => number.toString(16).padStart(4, "0");
const hex = (text: string): string => Buffer.from(text).toString("hex");
const tlv = (type: string, content: string): string => type + u16(content.length / 2) + content;

/** The header as the specification lays it out, in hexadecimal. */
function header(family: "11" | "21", addresses: string, ports: readonly [number, number], values = ""): string {
  const body = addresses + ports.map(u16).join("") + values;
  return `0d0a0d0a000d0a515549540a21${family}${u16(body.length / 2)}${body}`;
}

async function exchange(socket: Socket): Promise<{ got: string; ports: [number, number] }> {
  socket.end("hello");
  const ports: [number, number] = [socket.localPort ?? 0, socket.remotePort ?? 0];
  return { got: (await readAll(socket)).toString("hex"), ports };
}

async function secure(socket: TLSSocket): Promise<TLSSocket> {
  await once(socket, "secureConnect");
  return socket;
}

const FROM_TO = "7f0000017f4d0401";

test("a client of the mesh is announced with its address, its certificate, its protocol and the name it asked for", async () => {
  const port = await start();
  const options = { host: PROXY, port, servername: "web.example", ALPNProtocols: ["h2"] };
  const { got, ports } = await exchange(await secure(connectSecurely(mesh, client, options)));
  const certificate = new X509Certificate(client.certChain).raw.toString("hex");
  const values = [
    tlv("01", hex("h2")),
    tlv("02", hex("web.example")),
    tlv(
      "20",
      // A certificate on this connection and in this session, verified.
      "0700000000" +
        tlv("21", hex("TLSv1.3")) +
        tlv("23", hex("TLS_AES_256_GCM_SHA384")) +
        tlv("22", hex("workload")) +
        tlv("28", certificate),
    ),
  ].join("");
  expect(got).toBe(header("11", FROM_TO, ports, values) + hex("hello"));
});

test("a client that resumes its session is announced with the certificate of then", async () => {
  const port = await start();
  const first = connectSecurely(mesh, client, { host: PROXY, port });
  const [session] = (await once(first, "session")) as [Buffer];
  await exchange(first);
  const resumed = await secure(connectSecurely(mesh, client, { host: PROXY, port, session }));
  const { got } = await exchange(resumed);
  const certificate = new X509Certificate(client.certChain).raw.toString("hex");
  expect(got).toContain("0500000000" + tlv("21", hex("TLSv1.3")));
  expect(got).toContain(tlv("28", certificate));
});

test("a client that is asked for no certificate is announced without one, as not verified", async () => {
  const port = await start("false");
  const { got, ports } = await exchange(await secure(connectSecurely(mesh, client, { host: PROXY, port })));
  const tls = "0100000001" + tlv("21", hex("TLSv1.3")) + tlv("23", hex("TLS_AES_256_GCM_SHA384"));
  expect(got).toBe(header("11", FROM_TO, ports, tlv("20", tls)) + hex("hello"));
});

test("a client that is passed through is announced with its address alone", async () => {
  const port = await start("true");
  const socket = connectPlain(PROXY, port);
  await once(socket, "connect");
  const { got, ports } = await exchange(socket);
  expect(got).toBe(header("11", FROM_TO, ports) + hex("hello"));
});

test("a client of IPv6 is announced with its address", async () => {
  const port = await start("true", { proxy: "::1", application: APPLICATION });
  const socket = connectPlain("::1", port);
  await once(socket, "connect");
  const { got, ports } = await exchange(socket);
  const loopback = `${"0".repeat(31)}1`;
  expect(got).toBe(header("21", loopback + loopback, ports) + hex("hello"));
});

test("other ports are told nothing", async () => {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const other = await freePort(APPLICATION);
  await startLiveProxy(mesh, await mesh.issue(), {
    ...bindIngress(PROXY, APPLICATION, port, other),
    CONTRAST_INGRESS_PROXY_PROTOCOL: `${other}`,
  });
  const { got } = await exchange(await secure(connectSecurely(mesh, client, { host: PROXY, port })));
  expect(got).toBe(hex("hello"));
});

const HAPROXY = "/usr/sbin/haproxy";
const NO_HAPROXY = existsSync(HAPROXY) ? "" : ` (skipped: ${HAPROXY} is not installed)`;

test.skipIf(NO_HAPROXY !== "")(`haproxy understands what it is told${NO_HAPROXY}`, async () => {
  const port = await freePort(APPLICATION);
  const folder = await mkdtemp(join(tmpdir(), "haproxy-"));
  const file = join(folder, "haproxy.cfg");
  const said = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]";
  await writeFile(
    file,
    `defaults
  mode http
  timeout client 10s
frontend told
  bind ${APPLICATION}:${port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "${said}"
`,
  );
  const haproxy = spawn(HAPROXY, ["-db", "-f", file], { stdio: "ignore" });
  const exited = once(haproxy, "exit");
  onTestFinished(async () => {
    haproxy.kill("SIGKILL");
    await exited;
    await rm(folder, { recursive: true });
  });
  const { lines } = await startBefore(port);
  // The first ones may come before haproxy listens.
  const answer = async (): Promise<string> => {
    const options = { host: PROXY, port, servername: "web.example" };
    const socket = connectSecurely(mesh, client, options);
    socket.write("GET / HTTP/1.0\r\n\r\n");
    const text = String(await readAll(socket).catch(() => ""));
    return text.split("\r\n\r\n")[1]?.replace(String(socket.localPort), "PORT") ?? "";
  };
  await expect.poll(answer, { timeout: 10_000 }).toBe(`127.0.0.1 PORT ${PROXY} ${port} web.example`);
  expect(refusals(lines).every(({ code }) => code === "upstream_refused")).toBe(true);
});
