import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload, writeTlsConfig } from "../../pki/test-mesh.ts";
import { connectPlain, ending, freePort, startServer } from "../../test/mesh-proxies.ts";
import { type ProxyProgram, startProxyProgram } from "../../test/mesh/proxy-program.ts";
import { startProgram } from "../../test/programs.ts";
import { ENGINE } from "../../test/ways.ts";

const PROXY = "127.82.0.2";
const APPLICATION = "127.82.0.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

interface Started extends ProxyProgram {
  readonly admin: number;
  readonly port: number;
  readonly url: string;
}

async function start(variables: Readonly<Record<string, string>> = {}): Promise<Started> {
  const [admin, port] = [await freePort("127.0.0.1"), await freePort(PROXY)];
  const program = await startProxyProgram(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `web#${port}#false`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_EGRESS_PROXY_CONFIG: `db#127.82.0.4:${port}#db.example:5432#db`,
    CONTRAST_ADMIN_PORT: `${admin}`,
    ...variables,
  });
  return { ...program, admin, port, url: `http://127.0.0.1:${admin}` };
}

test("metrics are served as what Prometheus reads", async () => {
  const { url } = await start();
  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(await response.text()).toContain("# TYPE contrast_mesh_connections_open gauge\n");
});

test("what carries connections stands in the log, in the configuration and in a metric", async () => {
  const { url, line } = await start();
  expect(await line("ready")).toMatchObject({ engine: ENGINE });
  expect(await (await fetch(`${url}/config`)).json()).toMatchObject({ engine: ENGINE });
  expect(await (await fetch(`${url}/metrics`)).text()).toContain(`contrast_mesh_engine_info{engine="${ENGINE}"} 1\n`);
});

test("the configuration in effect is served, with mode, ports, pins and limits, and without a secret", async () => {
  const { url, folder, port } = await start({ CONTRAST_MAX_HANDSHAKES: "64", AWS_SECRET_ACCESS_KEY: "not-for-others" });
  const text = await (await fetch(`${url}/config`)).text();
  expect(JSON.parse(text)).toMatchObject({
    version: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
    listeners: [
      { name: "ingress web (TLS, no client certificate)", at: `${PROXY}:${port}`, to: `${APPLICATION}:${port}` },
      { name: "egress db (mutual TLS, db)", at: `127.82.0.4:${port}`, to: "db.example:5432" },
    ],
    limits: { handshakes: { total: 64, perPeer: 16 }, handshakeMs: 10_000 },
    variables: {
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_PROXY_CONFIG: [{ name: "web", port, disableTls: false }],
      CONTRAST_EGRESS_PROXY_CONFIG: [{ name: "db", san: "db", upstream: { host: "db.example", port: 5432 } }],
    },
  });
  const key = await readFile(join(folder, "key.pem"), "utf8");
  for (const line of key.trim().split("\n")) expect(text).not.toContain(line);
  expect(text).not.toContain("not-for-others");
});

test("nothing can be changed by it", async () => {
  const { url } = await start();
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    expect((await fetch(`${url}/config`, { method })).status).toBe(405);
  }
});

test("peers that hold connections to the admin port keep nobody out", async () => {
  const { url, admin } = await start();
  const holders = Array.from({ length: 200 }, () => connectPlain("127.0.0.1", admin));
  await Promise.all(holders.map(async (socket) => once(socket, "connect")));
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  await expect.poll(() => holders.filter(({ readableEnded }) => readableEnded).length).toBeGreaterThan(160);
});

test("what is not HTTP is refused, with a line of the log", async () => {
  const { admin, line } = await start();
  const socket = connectPlain("127.0.0.1", admin);
  socket.write("\x16\x03\x01 hello\r\n\r\n");
  await ending(socket);
  expect(await line("not HTTP")).toMatchObject({ code: "malformed_request" });
});

test("the health check says ready and exits with 0", async () => {
  const { admin } = await start();
  const check = startProgram(["mesh-proxy/main.ts", "healthcheck"], { CONTRAST_ADMIN_PORT: `${admin}` });
  expect([await check.exited, check.stdout(), check.text]).toEqual([0, "ready\n", []]);
});

test("the health check of a proxy that stops says so and exits with 1", async () => {
  const port = await startServer(APPLICATION, () => {});
  const { admin, child, line } = await start({ CONTRAST_INGRESS_PROXY_CONFIG: `web#${port}#true` });
  // A connection keeps it from ending.
  const socket = connectPlain(PROXY, port);
  await once(socket, "connect");
  child.kill("SIGTERM");
  await line("stopping");
  const check = startProgram(["mesh-proxy/main.ts", "healthcheck"], { CONTRAST_ADMIN_PORT: `${admin}` });
  expect([await check.exited, check.stdout()]).toEqual([1, "not ready\n"]);
});

test("the health check exits with 1 where nobody answers, and with 2 where there can be no such port", async () => {
  const nobody = await freePort("127.0.0.1");
  const check = startProgram(["mesh-proxy/main.ts", "healthcheck"], { CONTRAST_ADMIN_PORT: `${nobody}` });
  expect(await check.exited).toBe(1);
  expect(check.stdout()).toBe(`no answer from port ${nobody}: connect ECONNREFUSED 127.0.0.1:${nobody}\n`);
  // What a Service named contrast-admin sets is not ours, and an empty variable is none: the check asks the socket, and nobody is there.
  for (const value of ["tcp://10.96.0.7:80", ""]) {
    const linked = startProgram(["mesh-proxy/main.ts", "healthcheck"], { CONTRAST_ADMIN_PORT: value });
    expect(await linked.exited).toBe(1);
  }
  const lost = startProgram(["mesh-proxy/main.ts", "healthcheck"], { CONTRAST_ADMIN_PORT: "0" });
  expect(await lost.exited).toBe(2);
  expect(lost.stdout()).toMatch(/^set CONTRAST_ADMIN_PORT .*\n$/);
});

test("without an admin port the health check asks the proxy that has the same certificates", async () => {
  const folder = await writeTlsConfig(mesh, workload);
  onTestFinished(() => rm(folder, { recursive: true }));
  const variables = { CONTRAST_TLS_CONFIG_DIR: folder };
  const check = async (...words: string[]): Promise<unknown> => {
    const program = startProgram(["mesh-proxy/main.ts", "healthcheck", ...words], variables);
    return [await program.exited, program.stdout()];
  };
  expect(await check()).toEqual([1, "not ready\n"]);
  const waiting = check("wait");
  const proxy = startProgram(["mesh-proxy/main.ts"], variables);
  onTestFinished(() => void proxy.child.kill("SIGKILL"));
  expect(await waiting).toEqual([0, "ready\n"]);
  expect(await check()).toEqual([0, "ready\n"]);
  proxy.child.kill("SIGTERM");
  expect(await proxy.exited).toBe(0);
  expect(await check()).toEqual([1, "not ready\n"]);
});
