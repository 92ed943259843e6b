import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { promisify } from "node:util";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { architecture } from "../../images/architecture.ts";
import { tripleOf } from "../../images/engine/build.ts";
import { createMesh, type Mesh, type Workload, writeTlsConfig } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  freePort,
  isListening,
  readAll,
  refusals,
  startLiveProxy,
  startServer,
} from "../mesh-proxies.ts";

/**
 * Programs with other implementations of TLS, on both sides of the proxy: as clients of the ingress, and as servers behind the
 * egress. What they have is from their own libraries; interop.test.ts has other clients.
 */

const PROXY = "127.181.2.1";
const APPLICATION = "127.181.2.2";
const UPSTREAM = "127.181.2.3";

const CACHE = join(import.meta.dirname, "../../node_modules/.cache");
const RUSTLS = join(CACHE, `engine/${tripleOf(architecture(process.arch))}/release/examples/rustls-peer`);
const GO = join(CACHE, "go-peer");

const run = promisify(execFile);
const isThere = (command: string, ...args: readonly string[]): boolean => spawnSync(command, args).error === undefined;

let mesh: Mesh;
let own: Workload;
let peer: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  own = await mesh.issue({ sans: ["server"] });
  peer = await mesh.issue({ sans: ["peer"] });
});

async function folderOf(workload: Workload): Promise<string> {
  const folder = await writeTlsConfig(mesh, workload);
  onTestFinished(async () => rm(folder, { recursive: true }));
  return folder;
}

/** @returns what it says, line by line */
function start(command: string, args: readonly string[], cwd: string): Interface {
  const child = spawn(command, args, { cwd, stdio: ["pipe", "pipe", "ignore"] });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await once(child, "close");
  });
  return createInterface({ input: child.stdout });
}

/** What a client of the pod has from a server of the mesh, twice. */
async function throughEgress(port: number, said: string): Promise<string[]> {
  const listener = await freePort(PROXY);
  const { lines } = await startLiveProxy(mesh, own, {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${PROXY}:${listener}#${UPSTREAM}:${port}#peer`,
  });
  const answers: string[] = [];
  for (let times = 0; times < 2; times++) {
    const socket = connectPlain(PROXY, listener);
    socket.end(said);
    answers.push(String(await readAll(socket)));
  }
  expect(refusals(lines)).toEqual([]);
  return answers;
}

const NO_RUSTLS = existsSync(RUSTLS) ? "" : " (skipped: there is no peer of rustls; npm run test:engine)";
const NO_GO = isThere("go", "version") ? "" : " (skipped: go is not installed)";

describe.each([
  [
    "rustls",
    RUSTLS,
    NO_RUSTLS,
    [
      "TLSv1_3) Some(Full) early data: false, compressed: false, true",
      "TLSv1_3) Some(Resumed) early data: false, compressed: false, true",
    ],
  ],
  ["Go", GO, NO_GO, ["TLS 1.3 resumed: false, true", "TLS 1.3 resumed: true, true"]],
] as const)("%s", (_, command, missing, expected) => {
  beforeAll(async () => {
    if (command === GO && missing === "")
      await run("go", ["build", "-o", GO, join(import.meta.dirname, "peers/peer.go")]);
  }, 300_000);

  test.skipIf(missing !== "")(`as a client is served, and resumes its session${missing}`, async () => {
    const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
    const { lines } = await startLiveProxy(mesh, own, bindIngress(PROXY, APPLICATION, port));
    const { stdout } = await run(command, ["client", `${PROXY}:${port}`, await folderOf(peer)], { timeout: 20_000 });
    expect(stdout.trim().split("\n")).toEqual(expected.map((line) => expect.stringContaining(line)));
    expect(refusals(lines)).toEqual([]);
  });

  test.skipIf(missing !== "")(`as a client of another mesh is refused${missing}`, async () => {
    const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
    const { lines } = await startLiveProxy(mesh, own, bindIngress(PROXY, APPLICATION, port));
    const stranger = await (await createMesh()).issue();
    const client = run(command, ["client", `${PROXY}:${port}`, await folderOf(stranger)], { timeout: 20_000 });
    await expect(client).rejects.toMatchObject({ code: 1 });
    await expect.poll(() => refusals(lines)).toMatchObject([{ code: "client_certificate_untrusted" }]);
  });

  test.skipIf(missing !== "")(`as a server is believed by the egress${missing}`, async () => {
    const [port] = (await once(start(command, ["server", UPSTREAM, await folderOf(peer)], "/"), "line")) as [string];
    expect(await throughEgress(Number(port), "hello, mesh\n")).toEqual(["hello, mesh\n", "hello, mesh\n"]);
  });
});

const openssl = (port: number): string[] =>
  `s_server -accept ${UPSTREAM}:${port} -cert certChain.pem -cert_chain certChain.pem -key key.pem -CAfile mesh-ca.pem -Verify 1 -verify_return_error -rev`.split(
    " ",
  );
const gnutls = (port: number): string[] =>
  `--port ${port} --x509certfile certChain.pem --x509keyfile key.pem --x509cafile mesh-ca.pem --require-client-cert --verify-client-cert --echo`.split(
    " ",
  );

describe.each([
  ["openssl", openssl, "hsem ,olleh\n", "version"],
  ["gnutls-serv", gnutls, "hello, mesh\n", "--version"],
] as const)("%s", (command, args, answer, version) => {
  const missing = isThere(command, version) ? "" : ` (skipped: ${command} is not installed)`;

  test.skipIf(missing !== "")(`as a server is believed by the egress${missing}`, async () => {
    const port = await freePort(UPSTREAM);
    start(command, args(port), await folderOf(peer));
    await expect.poll(async () => isListening(UPSTREAM, port)).toBe(true);
    expect(await throughEgress(port, "hello, mesh\n")).toEqual([answer, answer]);
  });
});
