import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer as createHttp2Server, type Http2Server } from "node:http2";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import { refusals, startLiveProxy, type StartedProxy, startServer } from "../mesh-proxies.ts";

/** Clients that know nothing of this project; curl and openssl are in test/interop.test.ts. */

const PROXY = "127.77.65.1";
const APPLICATION = "127.77.65.2";

let mesh: Mesh;
let client: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  client = await mesh.issue({ sans: ["client"] });
});

function missing(command: string): string {
  return spawnSync(command, ["--version"]).error === undefined ? "" : ` (skipped: ${command} is not installed)`;
}

async function startIngress(port: number, rules: string): Promise<StartedProxy> {
  return startLiveProxy(mesh, await mesh.issue({ sans: ["server"] }), {
    CONTRAST_INGRESS_PROXY_CONFIG: rules,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    ...(rules === "" ? { CONTRAST_INGRESS_PORTS: `${port}` } : {}),
  });
}

interface Output {
  readonly code: number;
  readonly text: string;
}

async function run(command: string, args: readonly string[], input = ""): Promise<Output> {
  const child = execFile(command, args, { timeout: 20_000 });
  let text = "";
  child.stdout?.on("data", (chunk: string) => {
    text += chunk;
    // Its input ends when the answer is there, in however many pieces: gnutls-cli does not wait for one.
    if (input !== "" && text.includes(input)) child.stdin?.end();
  });
  child.stderr?.on("data", (chunk: string) => (text += chunk));
  if (input === "") child.stdin?.end();
  else child.stdin?.write(input);
  const [code] = (await once(child, "close")) as [number];
  return { code, text };
}

const NO_GNUTLS = missing("gnutls-cli");

test.skipIf(NO_GNUTLS !== "").each([
  ["with a certificate of the mesh is served", true],
  ["without one is refused", false],
])(`gnutls-cli %s${NO_GNUTLS}`, async (_, hasCertificate) => {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const { folder, lines } = await startIngress(port, "");
  await writeFile(join(folder, "client.pem"), client.certChain);
  await writeFile(join(folder, "client-key.pem"), client.key);
  const own = ["--x509certfile", join(folder, "client.pem"), "--x509keyfile", join(folder, "client-key.pem")];
  const server = ["--x509cafile", join(folder, "mesh-ca.pem"), "--verify-hostname", "server", "-p", `${port}`, PROXY];
  const args = [...(hasCertificate ? own : []), ...server];
  const { code, text } = await run("gnutls-cli", args, hasCertificate ? "hello, mesh\n" : "");
  if (hasCertificate) {
    expect(code).toBe(0);
    expect(text).toContain("TLS1.3");
    expect(text.match(/hello, mesh/g)).toHaveLength(1);
    expect(refusals(lines)).toEqual([]);
  } else {
    await expect.poll(() => refusals(lines)).toMatchObject([{ code: "client_certificate_missing" }]);
  }
});

const NO_H2LOAD = missing("h2load");

test.skipIf(NO_H2LOAD !== "")(`h2load has all its requests answered${NO_H2LOAD}`, async () => {
  const http: Http2Server = createHttp2Server((_request, response) => void response.end("hello"));
  const port = await startServer(APPLICATION, (socket) => void http.emit("connection", socket));
  const { lines } = await startIngress(port, `web#${port}#false`);
  const { text } = await run("h2load", [
    "--npn-list",
    "h2",
    "-n",
    "500",
    "-c",
    "5",
    "-m",
    "20",
    `https://${PROXY}:${port}/`,
  ]);
  expect(text).toContain("Application protocol: h2");
  expect(text).toContain("500 succeeded, 0 failed, 0 errored");
  // h2load closes before the server has said its last: that is everyday.
  expect(refusals(lines).filter(({ code }) => code !== "connection_broken")).toEqual([]);
});
