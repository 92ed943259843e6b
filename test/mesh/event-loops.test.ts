import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import type { AccessEntry } from "../../mesh-proxy/access-log.ts";
import { createMesh, type Mesh, type Workload } from "../mesh-certificates.ts";
import { connectPlain, connectSecurely, ending, freePort, readAll, startServer } from "../mesh-proxies.ts";
import { type ProxyProgram, startProxyProgram } from "./proxy-program.ts";
import { ping } from "./traffic.ts";

/** What the proxy promises it also keeps with two event loops, each of which has a part of the connections. */

const PROXY = "127.77.20.1";
const APPLICATION = "127.77.20.2";

let mesh: Mesh;
let newMesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  newMesh = await createMesh();
  workload = await mesh.issue();
});

interface Started {
  readonly program: ProxyProgram;
  readonly port: number;
  readonly connect: (options?: { session?: Buffer | undefined; of?: Mesh; as?: Workload }) => TLSSocket;
}

/** In front of an application that echoes. */
async function start(
  variables: Readonly<Record<string, string>> = {},
  within: readonly string[] = [],
): Promise<Started> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const environment = {
    CONTRAST_WORKERS: "2",
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    ...(variables["CONTRAST_INGRESS_PROXY_CONFIG"] === undefined ? { CONTRAST_INGRESS_PORTS: `${port}` } : {}),
    ...variables,
  };
  const program = await startProxyProgram(mesh, workload, environment, within);
  const connect: Started["connect"] = ({ session, of = mesh, as = workload } = {}) =>
    connectSecurely(of, as, { host: PROXY, port, session });
  return { program, port, connect };
}

async function samples(port: number): Promise<Map<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => line.split(" ")).map(([name = "", value]) => [name, Number(value)]));
}

/** So many at once that each loop gets some: a loop accepts one connection in each of its turns. */
const MANY = 40;

async function many<T>(visit: () => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: MANY }, visit));
}

/** A connection from its handshake to its clean end. */
async function visit(socket: TLSSocket): Promise<{ isReused: boolean; names: string | undefined }> {
  await once(socket, "secureConnect");
  const isReused = socket.isSessionReused();
  const names = socket.getPeerX509Certificate()?.subjectAltName;
  socket.end("hello");
  expect(String(await readAll(socket))).toBe("hello");
  return { isReused, names };
}

async function sessionOf(socket: TLSSocket): Promise<Buffer> {
  const [session] = (await once(socket, "session")) as [Buffer];
  socket.end();
  await readAll(socket);
  return session;
}

/** Of its threads, how many have used more than a few hundredths of a second (proc_pid_stat(5)). */
function busyThreads(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).filter((thread) => {
    const fields = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
    return Number(fields[11]) + Number(fields[12]) > 30;
  }).length;
}

test("both loops serve", async () => {
  const { program, connect } = await start();
  const { pid = 0 } = program.child;
  await expect
    .poll(
      async () => {
        await many(async () => visit(connect()));
        return busyThreads(pid);
      },
      { timeout: 20_000 },
    )
    .toBeGreaterThanOrEqual(2);
  expect(program.log.find(({ msg }) => msg === "ready")).toMatchObject({ loops: 2 });
});

test("with one loop there is no other thread that serves", async () => {
  const { program } = await start({ CONTRAST_WORKERS: "1" });
  expect(program.log.find(({ msg }) => msg === "ready")).toMatchObject({ loops: 1 });
});

test.each([
  ["in total", { CONTRAST_MAX_INGRESS_CONNECTIONS: "21", CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: "21" }],
  ["of one source", { CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: "21" }],
])("as many connections are served as may be %s, and no more, again and again", async (_, limits) => {
  const admin = await freePort("127.0.0.1");
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  await start({ ...limits, CONTRAST_INGRESS_PROXY_CONFIG: `app#${port}#true`, CONTRAST_ADMIN_PORT: `${admin}` });
  const inside = async (limit: string): Promise<number | undefined> =>
    (await samples(admin)).get(`contrast_mesh_limit_used{limit="${limit}"}`);
  for (let round = 0; round < 3; round++) {
    const sockets: Socket[] = [];
    const served = await many(async () => {
      const socket = connectPlain(PROXY, port);
      sockets.push(socket);
      const end = ending(socket);
      return Promise.race([ping(socket).then(() => "served"), end]).catch(async () => end);
    });
    expect(served.filter((outcome) => outcome === "served")).toHaveLength(21);
    expect(served.filter((outcome) => outcome === "ECONNRESET")).toHaveLength(MANY - 21);
    expect(await inside("ingress_connections")).toBe(21);
    expect(await inside("ingress_connections_per_source")).toBe(21);
    for (const socket of sockets) socket.destroy();
    await expect.poll(async () => inside("ingress_connections")).toBe(0);
    expect(await inside("ingress_connections_per_source")).toBe(0);
  }
});

test("a session that began with one loop is resumed by both", async () => {
  const { connect } = await start();
  const session = await sessionOf(connect());
  const visits = await many(async () => visit(connect({ session })));
  expect(visits.filter(({ isReused }) => !isReused)).toEqual([]);
});

test("from the moment that new certificates are reported, no loop uses the old ones or resumes their sessions", async () => {
  const { program, connect } = await start();
  const session = await sessionOf(connect());
  const { certChain, key } = await newMesh.issue({ sans: ["renewed"] });
  const client = await newMesh.issue();
  await writeFile(join(program.folder, "certChain.pem"), certChain);
  await writeFile(join(program.folder, "key.pem"), key);
  await writeFile(join(program.folder, "mesh-ca.pem"), newMesh.meshCa);
  program.child.kill("SIGHUP");
  await program.line("new certificates are in use");
  const visits = await many(async () => visit(connect({ session, of: newMesh, as: client })));
  expect(new Set(visits.map(({ names }) => names))).toEqual(new Set(["DNS:renewed"]));
  expect(visits.filter(({ isReused }) => isReused)).toEqual([]);
});

test("certificates that are broken change nothing, in either loop", async () => {
  const { program, connect } = await start();
  const session = await sessionOf(connect());
  await writeFile(join(program.folder, "key.pem"), "not a key");
  program.child.kill("SIGHUP");
  await program.line("the old certificates stay in use");
  const visits = await many(async () => visit(connect({ session })));
  expect(visits.filter(({ isReused }) => !isReused)).toEqual([]);
});

test("metrics are those of both, and each connection has one whole line in the access log", async () => {
  const admin = await freePort("127.0.0.1");
  const { program, connect } = await start({ CONTRAST_ADMIN_PORT: `${admin}`, CONTRAST_ACCESS_LOG: "1" });
  await many(async () => visit(connect()));
  const labels = 'direction="ingress",rule="(none)"';
  const seen = async (name: string): Promise<number | undefined> => (await samples(admin)).get(name);
  await expect.poll(async () => seen(`contrast_mesh_connections_total{${labels},outcome="completed"}`)).toBe(MANY);
  expect(await seen(`contrast_mesh_bytes_total{${labels},flow="up"}`)).toBe(5 * MANY);
  expect(await seen(`contrast_mesh_handshake_seconds_count{${labels}}`)).toBe(MANY);
  expect(await seen(`contrast_mesh_handshake_seconds_bucket{${labels},le="+Inf"}`)).toBe(MANY);
  program.child.kill("SIGTERM");
  expect(await program.exited).toBe(0);
  const lines = program.stdout().trimEnd().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as AccessEntry);
  expect(entries.map(({ outcome }) => outcome)).toEqual(Array.from({ length: MANY }, () => "completed"));
});

test("connections of both loops may end before the proxy does", async () => {
  const { program, connect } = await start();
  const kept = await many(async () => {
    const socket = connect();
    await ping(socket);
    return socket;
  });
  program.child.kill("SIGTERM");
  await program.line("stopping");
  expect(await ending(connect())).toBe("ECONNREFUSED");
  await Promise.all(
    kept.map(async (socket) => {
      await ping(socket);
      socket.end();
      await readAll(socket);
    }),
  );
  expect(await program.exited).toBe(0);
});

test("what is left in either loop when the time is over is reset", async () => {
  const { program, connect } = await start({ CONTRAST_DRAIN_TIMEOUT: "500ms" });
  const kept = await many(async () => {
    const socket = connect();
    await ping(socket);
    return socket;
  });
  const ends = Promise.all(kept.map(ending));
  program.child.kill("SIGTERM");
  expect(await ends).toEqual(Array.from({ length: MANY }, () => "ECONNRESET"));
  expect(await program.exited).toBe(1);
});

test("a thread that dies takes the proxy with it, which says why", async () => {
  const folder = await mkdtemp(join(tmpdir(), "event-loops-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  const cause = join(folder, "fault");
  const fault = `import { existsSync } from "node:fs";
    import { isMainThread } from "node:worker_threads";
    const look = () => { if (existsSync("${cause}")) throw new TypeError("a fault of the test"); };
    if (!isMainThread) setInterval(look, 20);`;
  const preload = `--import=data:text/javascript;base64,${Buffer.from(fault).toString("base64")}`;
  const { program } = await start({}, ["env", `NODE_OPTIONS=${preload}`]);
  await writeFile(cause, "");
  expect(await program.exited).toBe(1);
  expect(program.log.at(-1)).toMatchObject({
    level: "fatal",
    msg: "thread: a thread of the proxy has ended (got a fault of the test)",
  });
});
