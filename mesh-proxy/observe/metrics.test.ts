import { once } from "node:events";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { clientHello } from "../../test/client-hello.ts";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  readAll,
  type StartedProxy,
  startLiveProxy,
  startServer,
} from "../../test/mesh-proxies.ts";

const PROXY = "127.80.0.2";
const APPLICATION = "127.80.0.3";
const EGRESS = "127.80.0.4";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue({ validForMs: 3_600_000 });
});

interface Started extends StartedProxy {
  /** Mutual TLS, for which there is no rule. */
  readonly port: number;
  /** Passed through, by the rule "open". */
  readonly open: number;
  /** Mutual TLS, and no application. */
  readonly absent: number;
  readonly samples: () => Promise<Map<string, number>>;
}

/** A proxy whose egress "self" leads to its own ingress, in front of an application that echoes. */
async function start(variables: Readonly<Record<string, string>> = {}): Promise<Started> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const open = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const absent = await freePort(APPLICATION);
  const proxy = await startLiveProxy(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: `open#${open}#true`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${port},${absent}`,
    CONTRAST_EGRESS_PROXY_CONFIG: `self#${EGRESS}:${port}#${PROXY}:${port}`,
    ...variables,
  });
  const samples = async (): Promise<Map<string, number>> => parse(await proxy.telemetry.metrics.text());
  return { ...proxy, port, open, absent, samples };
}

/** By name and labels, as they stand in the text. */
function parse(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

const INGRESS = 'direction="ingress",rule="(none)"';
const OUTWARD = 'direction="egress",rule="self"';

test("open connections and their bytes are seen while they are open, and counted by outcome when they have ended", async () => {
  const { port, samples } = await start();
  const socket = connectSecurely(mesh, workload, { host: PROXY, port });
  socket.write("hello");
  await once(socket, "data");
  const during = await samples();
  expect(during.get(`contrast_mesh_connections_open{${INGRESS}}`)).toBe(1);
  expect(during.get(`contrast_mesh_bytes_total{${INGRESS},flow="up"}`)).toBe(5);
  expect(during.get(`contrast_mesh_bytes_total{${INGRESS},flow="down"}`)).toBe(5);
  expect(during.get(`contrast_mesh_connections_total{${INGRESS},outcome="completed"}`)).toBe(0);
  socket.end();
  await readAll(socket);
  const total = `contrast_mesh_connections_total{${INGRESS},outcome="completed"}`;
  await expect.poll(async () => (await samples()).get(total)).toBe(1);
  const after = await samples();
  expect(after.get(`contrast_mesh_connections_open{${INGRESS}}`)).toBe(0);
  expect(after.get(`contrast_mesh_bytes_total{${INGRESS},flow="up"}`)).toBe(5);
});

test("what waits for a reader that does not read is seen, and it is 256 KiB at most", async () => {
  const big = await startServer(APPLICATION, (socket) => void socket.write(Buffer.alloc(32 * 1024 * 1024)));
  const { samples } = await start({ CONTRAST_INGRESS_PROXY_CONFIG: `big#${big}#true` });
  const buffered = async (): Promise<number> =>
    (await samples()).get('contrast_mesh_buffered_bytes{direction="ingress",rule="big"}') ?? -1;
  expect(await buffered()).toBe(0);
  const socket = connectPlain(PROXY, big);
  await expect.poll(buffered).toBeGreaterThan(0);
  expect(await buffered()).toBeLessThanOrEqual(256 * 1024);
  socket.destroy();
  await expect.poll(buffered).toBe(0);
});

test("rule and direction are told apart", async () => {
  const { port, open, samples } = await start();
  for (const socket of [connectPlain(EGRESS, port), connectPlain(PROXY, open)]) {
    socket.end("hello");
    await readAll(socket);
  }
  for (const labels of [INGRESS, OUTWARD, 'direction="ingress",rule="open"']) {
    const total = `contrast_mesh_connections_total{${labels},outcome="completed"}`;
    await expect.poll(async () => (await samples()).get(total), { message: labels }).toBe(1);
  }
});

test("handshakes of both directions are timed, those that succeed", async () => {
  const { port, open, samples } = await start();
  const socket = connectPlain(EGRESS, port);
  socket.end("hello");
  await readAll(socket);
  await ending(connectSecurely(mesh, undefined, { host: PROXY, port }));
  connectPlain(PROXY, open).end();
  const seen = await samples();
  for (const labels of [INGRESS, OUTWARD]) {
    expect(seen.get(`contrast_mesh_handshake_seconds_count{${labels}}`)).toBe(1);
    expect(seen.get(`contrast_mesh_handshake_seconds_sum{${labels}}`)).toBeGreaterThan(0.0001);
  }
});

test("refusals are counted by reason", async () => {
  const { port, absent, samples } = await start({ CONTRAST_MAX_INGRESS_CONNECTIONS: "1" });
  const refused = (reason: string) => async (): Promise<number | undefined> =>
    (await samples()).get(`contrast_mesh_refusals_total{${INGRESS},reason="${reason}"}`);
  await ending(connectSecurely(mesh, undefined, { host: PROXY, port }));
  await expect.poll(refused("client_certificate_missing")).toBe(1);
  await ending(connectSecurely(mesh, workload, { host: PROXY, port: absent }));
  await expect.poll(refused("upstream_refused")).toBe(1);
  const holder = connectSecurely(mesh, workload, { host: PROXY, port });
  await once(holder, "secureConnect");
  await ending(connectPlain(PROXY, port));
  await expect.poll(refused("too_many_connections")).toBe(1);
  const total = await samples();
  expect(total.get(`contrast_mesh_connections_total{${INGRESS},outcome="refused"}`)).toBe(3);
});

test("a connection that breaks is counted as such", async () => {
  const { port, samples } = await start();
  const transport = connectPlain(PROXY, port);
  const socket = connectSecurely(mesh, workload, { socket: transport });
  socket.write("hello");
  await once(socket, "data");
  transport.resetAndDestroy();
  const broken = `contrast_mesh_connections_total{${INGRESS},outcome="broken"}`;
  await expect.poll(async () => (await samples()).get(broken)).toBe(1);
});

test("limits stand beside what is used of them", async () => {
  const { port, samples, telemetry } = await start({
    CONTRAST_MAX_INGRESS_CONNECTIONS: "20",
    CONTRAST_MAX_EGRESS_CONNECTIONS: "7",
    CONTRAST_MAX_HANDSHAKES: "8",
    CONTRAST_HANDSHAKE_TIMEOUT: "1500ms",
  });
  // Silent after its first message, and so in its handshake; and one that the egress made.
  connectPlain(PROXY, port).write(await clientHello());
  const socket = connectPlain(EGRESS, port);
  socket.write("hello");
  await once(socket, "data");
  await expect.poll(() => telemetry.admission.handshakes.inside).toBe(1);
  const seen = await samples();
  const pair = (limit: string): unknown[] =>
    ["", "_used"].map((suffix) => seen.get(`contrast_mesh_limit${suffix}{limit="${limit}"}`));
  expect(pair("ingress_connections")).toEqual([20, 2]);
  expect(pair("ingress_connections_per_source")).toEqual([5, 2]);
  expect(pair("egress_connections_per_rule")).toEqual([7, 1]);
  expect(pair("handshakes")).toEqual([8, 1]);
  expect(pair("handshakes_per_source")).toEqual([2, 1]);
  expect(seen.get("contrast_mesh_handshake_timeout_seconds")).toBe(1.5);
});

test("clients that wait for the turn of their handshake are seen", async () => {
  const { port, samples } = await start({ CONTRAST_MAX_HANDSHAKES: "1" });
  const hello = await clientHello();
  for (let i = 0; i < 3; i++) connectPlain(PROXY, port).write(hello);
  await expect.poll(async () => (await samples()).get("contrast_mesh_handshakes_waiting")).toBe(2);
});

test("the expiry of the certificate follows a reload, and a reload that fails is counted", async () => {
  const { credentials, folder, samples } = await start();
  const expiry = async (): Promise<number> =>
    (await samples()).get("contrast_mesh_certificate_expiry_timestamp_seconds") ?? 0;
  const before = await expiry();
  expect(Math.abs(before - (Date.now() / 1000 + 3_600))).toBeLessThan(60);
  const next = await mesh.issue({ validForMs: 7_200_000 });
  await writeFile(join(folder, "certChain.pem"), next.certChain);
  await writeFile(join(folder, "key.pem"), next.key);
  await credentials.reload();
  expect((await expiry()) - before).toBeGreaterThan(3_000);
  await writeFile(join(folder, "key.pem"), "broken");
  await credentials.reload();
  expect((await samples()).get("contrast_mesh_certificate_reload_failures_total")).toBe(1);
});

test("of the process, the usual is there", async () => {
  const { samples } = await start();
  const seen = await samples();
  expect(seen.get("process_cpu_seconds_total")).toBeGreaterThan(0);
  expect(seen.get("process_resident_memory_bytes")).toBeGreaterThan(10_000_000);
  expect(seen.get("process_open_fds")).toBeGreaterThan(3);
  expect(seen.get("process_max_fds")).toBeGreaterThan(seen.get("process_open_fds") ?? 0);
  expect(Math.abs((seen.get("process_start_time_seconds") ?? 0) - Date.now() / 1000)).toBeLessThan(600);
  expect([...seen.keys()]).toContainEqual(expect.stringMatching(/^contrast_mesh_build_info\{version="[\d.]+"\}$/));
});

test("nothing that a peer says or is becomes a label", async () => {
  const { port, open, samples, lines } = await start();
  connectPlain(PROXY, open).end("x");
  await ending(connectSecurely(mesh, undefined, { host: PROXY, port, servername: "chosen.example" }));
  await expect.poll(() => lines.length).toBeGreaterThan(0);
  const labels = [...(await samples()).keys()].flatMap((name) =>
    [...name.matchAll(/(\w+)="/g)].map(([, label]) => label),
  );
  const own = ["direction", "engine", "flow", "le", "limit", "outcome", "reason", "rule", "version"];
  expect(new Set(labels)).toEqual(new Set(own));
});

test("the document lists every metric, and no other", async () => {
  const { telemetry } = await start();
  const exposed = [...(await telemetry.metrics.text()).matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name);
  const doc = readFileSync(join(import.meta.dirname, "../../docs/mesh-proxy.md"), "utf8");
  const documented = [...doc.matchAll(/^\| `((?:contrast_mesh|process)_\w+)` /gm)].map(([, name]) => name);
  expect(new Set(documented)).toEqual(new Set(exposed));
  expect(documented).toHaveLength(exposed.length);
});
