import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload, writeTlsConfig } from "../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  freePort,
  type LogLine,
  startServer,
} from "../test/mesh-proxies.ts";

const PROXY = "127.76.0.2";
const APPLICATION = "127.76.0.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

class Run {
  readonly child: ChildProcess;
  text = "";

  constructor(environment: Readonly<Record<string, string>>) {
    const main = join(import.meta.dirname, "main.ts");
    this.child = spawn(process.execPath, [main], { env: environment, stdio: ["ignore", "ignore", "pipe"] });
    this.child.stderr?.on("data", (chunk) => (this.text += String(chunk)));
    onTestFinished(() => void this.child.kill("SIGKILL"));
  }

  get lines(): LogLine[] {
    return this.text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as LogLine);
  }

  async ready(): Promise<LogLine> {
    await expect.poll(() => this.text, { timeout: 20_000 }).toContain('"msg":"ready"');
    return this.lines.find(({ msg }) => msg === "ready") ?? {};
  }

  async exit(): Promise<number | null> {
    if (this.child.exitCode === null) await once(this.child, "exit");
    return this.child.exitCode;
  }
}

async function tlsConfig(): Promise<string> {
  const folder = await writeTlsConfig(mesh, workload);
  onTestFinished(async () => rm(folder, { recursive: true }));
  return folder;
}

async function ingress(port: number): Promise<Record<string, string>> {
  return { CONTRAST_TLS_CONFIG_DIR: await tlsConfig(), ...bindIngress(PROXY, APPLICATION, port) };
}

test("a wrong configuration exits with 2 and names every fault", async () => {
  const run = new Run({
    CONTRAST_INGRESS_PROXY_CONFIG: "web#08080#false##web",
    CONTRAST_EGRESS_PROXY_CONFIG: "db#10.0.0.1:1#db:2",
    CONTRAST_INGRESS_MODE: "Bind",
    CONTRAST_ADMIN_PORT: "0",
    CONTRAST_INGRESS_BINT: "127.0.0.1",
  });
  expect(await run.exit()).toBe(2);
  expect(run.lines).toMatchObject([{ level: "fatal", code: "configuration" }]);
  expect(run.lines[0]?.["msg"]).toBe(
    [
      'configuration: 6 faults: CONTRAST_INGRESS_PROXY_CONFIG, entry 1 "web#08080#false": got "08080", want a port: 1 to 65535, without sign, space or leading zero',
      'CONTRAST_INGRESS_PROXY_CONFIG, entry 2 "web": got 1 field, want <name>#<port>#<disableTLS>',
      'CONTRAST_EGRESS_PROXY_CONFIG, entry 1 "db#10.0.0.1:1#db:2": got "10.0.0.1", want an address of 127.0.0.0/8 or [::1]',
      'CONTRAST_INGRESS_MODE: got "Bind", want transparent or bind',
      'CONTRAST_ADMIN_PORT: got "0", want a port: 1 to 65535, without sign, space or leading zero',
      "CONTRAST_INGRESS_BINT: got an unknown variable, want CONTRAST_INGRESS_BIND",
      "correct these variables of the container and start it again",
    ].join("; "),
  );
});

test("missing certificates exit with 1 and one line", async () => {
  const run = new Run({ CONTRAST_TLS_CONFIG_DIR: "/no/such/folder" });
  expect(await run.exit()).toBe(1);
  expect(run.lines).toMatchObject([
    { level: "fatal", msg: expect.stringContaining("certificates: can't read") as string },
  ]);
});

test("a port that is taken exits with 1 and names it", async () => {
  const other = createServer().listen(0, PROXY);
  await once(other, "listening");
  onTestFinished(() => void other.close());
  const { port } = other.address() as { port: number };
  const run = new Run(await ingress(port));
  expect(await run.exit()).toBe(1);
  expect(run.lines).toMatchObject([
    {
      level: "fatal",
      msg: `listen: can't listen (at ${PROXY}:${port}, got EADDRINUSE); another program listens there: stop it, or choose another address or port`,
    },
  ]);
});

test("the proxy says when it is ready and for what, and warns of an upstream that is not pinned", async () => {
  const port = await freePort(PROXY);
  const run = new Run({
    ...(await ingress(port)),
    CONTRAST_EGRESS_PROXY_CONFIG: `db#127.76.0.4:${port}#db:5432##web#127.76.0.5:${port}#web:80#web`,
  });
  expect(await run.ready()).toMatchObject({
    level: "info",
    listeners: [
      `ingress (mutual TLS): ${PROXY}:${port} -> ${APPLICATION}:${port}`,
      `egress db (mutual TLS): 127.76.0.4:${port} -> db:5432`,
      `egress web (mutual TLS, web): 127.76.0.5:${port} -> web:80`,
    ],
  });
  expect(run.lines.filter(({ level }) => level === "warn")).toMatchObject([
    { rule: "db", listener: `127.76.0.4:${port}` },
  ]);
});

test("health and readiness are served, and nothing else", async () => {
  const port = await freePort("127.0.0.1");
  const run = new Run({ CONTRAST_TLS_CONFIG_DIR: await tlsConfig(), CONTRAST_ADMIN_PORT: `${port}` });
  await run.ready();
  const status = async (path: string, method = "GET"): Promise<number> =>
    (await fetch(`http://127.0.0.1:${port}${path}`, { method })).status;
  expect(await status("/healthz")).toBe(200);
  expect(await status("/readyz")).toBe(200);
  expect(await status("/")).toBe(404);
  expect(await status("/healthz", "POST")).toBe(405);
});

test.each(["SIGTERM", "SIGINT"] as const)("%s ends it with 0 when its connections have ended", async (signal) => {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const run = new Run(await ingress(port));
  await run.ready();
  const socket = connectSecurely(mesh, workload, { host: PROXY, port });
  socket.write("before");
  await once(socket, "data");

  run.child.kill(signal);
  await expect.poll(() => run.text).toContain('"msg":"stopping"');
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNREFUSED");
  socket.write("after");
  expect(String((await once(socket, "data"))[0])).toBe("after");
  socket.end();
  expect(await run.exit()).toBe(0);
});

test.each(["by itself", "SIGHUP"] as const)("certificates that changed are taken up: %s", async (why) => {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const environment = await ingress(port);
  const run = new Run(environment);
  await run.ready();
  const { certChain, key } = await mesh.issue({ sans: ["renewed"] });
  await writeFile(join(environment["CONTRAST_TLS_CONFIG_DIR"] ?? "", "certChain.pem"), certChain);
  await writeFile(join(environment["CONTRAST_TLS_CONFIG_DIR"] ?? "", "key.pem"), key);
  if (why === "SIGHUP") run.child.kill(why);
  await expect.poll(() => run.text, { timeout: 10_000 }).toContain("new certificates are in use");
  const socket = connectSecurely(mesh, workload, { host: PROXY, port });
  await once(socket, "secureConnect");
  expect(socket.getPeerX509Certificate()?.subjectAltName).toBe("DNS:renewed");
});
