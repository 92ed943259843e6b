import { createServer as createHttpsServer } from "node:https";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, isIP } from "node:net";
import type { Duplex } from "node:stream";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { issueCa, issueLeaf } from "../pki/certificate.ts";
import { generateEcKey, privateKeyPem } from "../pki/keys.ts";
import { makeImage, RESOLVED_CONFIG } from "./test-image.ts";
import { password, PATIENT, problemOf, run, testNetwork } from "./test-resolve.ts";
import { type Handler, registryOfImage, startServer, status } from "./test-server.ts";

/** Registries that are not on this machine, as far as anybody can tell: by TLS, through a proxy. */

const image = makeImage();
const REFERENCE = "registry.example.com/app:1";

/** @returns the port of a server with TLS for this name, under a CA that is trusted or not */
async function startTls(handler: Handler, { name = "registry.example.com", isTrusted = true } = {}): Promise<number> {
  const [caKey, leafKey] = await Promise.all([generateEcKey("P-256"), generateEcKey("P-256")]);
  const validity = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 3_600_000) };
  const issuer = { name: "test CA", key: caKey };
  const ca = issueCa({ subject: "test CA", publicKey: caKey.publicKey, issuer, pathLength: 0, ...validity });
  const names = [{ kind: isIP(name) === 0 ? "dns" : "ip", value: name } as const];
  const cert = issueLeaf({ subject: name, publicKey: leafKey.publicKey, issuer, names, ...validity });
  if (isTrusted) {
    const before = getCACertificates("default");
    setDefaultCACertificates([...before, ca]);
    onTestFinished(() => setDefaultCACertificates(before));
  }
  const server = createHttpsServer({ cert, key: privateKeyPem(leafKey.privateKey) }, handler);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

interface Proxy {
  readonly environment: Readonly<Record<string, string>>;
  /** Where it was asked to lead, and what it was shown. */
  readonly targets: string[];
  readonly authorizations: (string | undefined)[];
}

/** A proxy that leads everybody to one port of this machine. */
async function startProxy(answer: number | ((socket: Duplex) => unknown)): Promise<Proxy> {
  const targets: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const sockets = new Set<Duplex>();
  const proxy = createServer().on("connect", (request: IncomingMessage, socket: Duplex) => {
    targets.push(request.url ?? "");
    authorizations.push(request.headers["proxy-authorization"]);
    sockets.add(socket.on("error", () => undefined));
    if (typeof answer === "function") return void answer(socket);
    const upstream = connect(answer, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      upstream.pipe(socket).pipe(upstream);
    }).on("error", () => socket.destroy());
    return undefined;
  });
  onTestFinished(() => {
    proxy.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const { port } = proxy.address() as AddressInfo;
  return { environment: { HTTPS_PROXY: `http://user:pr0xy@127.0.0.1:${port}` }, targets, authorizations };
}

function through(proxy: Proxy, deadlines = PATIENT): { network: ReturnType<typeof testNetwork> } {
  return { network: { ...testNetwork(), environment: proxy.environment, deadlines } };
}

test("a registry is asked by TLS, through the proxy of the environment", async () => {
  const proxy = await startProxy(await startTls(registryOfImage(image)));
  const { images } = await run([REFERENCE], through(proxy));
  expect(images.get(REFERENCE)?.config).toEqual(RESOLVED_CONFIG);
  expect(proxy.targets).toEqual(["registry.example.com:443"]);
  expect(proxy.authorizations).toEqual([`Basic ${Buffer.from("user:pr0xy").toString("base64")}`]);
});

test("Docker Hub is asked where its registry is", async () => {
  const proxy = await startProxy(await startTls(status(404), { name: "registry-1.docker.io" }));
  const problem = await problemOf("nginx:1", through(proxy));
  expect(problem).toMatchObject({ kind: "not_found", got: "status 404 from registry-1.docker.io" });
  expect(proxy.targets).toEqual(["registry-1.docker.io:443"]);
});

test("a registry on this machine is not asked through the proxy", async () => {
  const proxy = await startProxy(1);
  const { host } = await startServer(registryOfImage(image));
  const { images } = await run([`${host}/app:1`], through(proxy));
  expect(images.size).toBe(1);
  expect(proxy.targets).toEqual([]);
});

test.each([
  ["of an unknown CA", { isTrusted: false }, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
  ["for another name", { name: "other.example.com" }, "ERR_TLS_CERT_ALTNAME_INVALID"],
])("a certificate %s is refused", async (_, options, code) => {
  const proxy = await startProxy(await startTls(registryOfImage(image), options));
  const problem = await problemOf(REFERENCE, through(proxy));
  expect(problem).toMatchObject({ kind: "untrusted_registry", got: `${code} from registry.example.com` });
});

test("what speaks no TLS is refused", async () => {
  const { host } = await startServer(registryOfImage(image));
  const proxy = await startProxy(Number(host.split(":")[1]));
  await expect(problemOf(REFERENCE, through(proxy))).resolves.toMatchObject({ kind: "untrusted_registry" });
});

test.each<[string, string, Handler]>([
  ["leads to plain HTTP", "nobody follows", status(307, { location: "http://registry.example.com/v2/" })],
  ["leads to this machine", "nobody follows", status(307, { location: "http://127.0.0.1/" })],
  [
    "has a token service without TLS",
    "token service",
    status(401, { "www-authenticate": `Bearer realm="http://registry.example.com/"` }),
  ],
  [
    "has a token service on this machine",
    "token service",
    status(401, { "www-authenticate": `Bearer realm="http://127.0.0.1/"` }),
  ],
])("a registry that %s is refused", async (_, got, handler) => {
  const proxy = await startProxy(await startTls(handler));
  const credentials = (): Promise<ReturnType<typeof password>> => Promise.resolve(password("alice", "secret"));
  const problem = await problemOf(REFERENCE, { ...through(proxy), credentials });
  expect(problem).toMatchObject({ kind: "invalid_answer", got: expect.stringContaining(got) as unknown });
  expect(proxy.targets).toEqual(["registry.example.com:443"]);
});

// Leads to this machine, and is none of the addresses that are known to.
const ELSEWHERE = "0.0.0.0";

test("without a proxy a registry is asked by TLS, too", async () => {
  const port = await startTls(registryOfImage(image), { name: ELSEWHERE });
  const { images } = await run([`${ELSEWHERE}:${port}/app:1`]);
  expect(images.size).toBe(1);
});

test("without a proxy, too, a certificate of an unknown CA is refused", async () => {
  const port = await startTls(registryOfImage(image), { name: ELSEWHERE, isTrusted: false });
  await expect(problemOf(`${ELSEWHERE}:${port}/app:1`)).resolves.toMatchObject({ kind: "untrusted_registry" });
});

test("a registry that takes the connection and hangs in the handshake is there and silent", async () => {
  const server = createTcpServer((socket) => socket.on("error", () => undefined));
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const network = { ...testNetwork(), deadlines: { ...PATIENT, answer: 300 } };
  await expect(problemOf(`${ELSEWHERE}:${port}/app:1`, { network })).resolves.toMatchObject({ kind: "no_answer" });
});

test.each<[string, (socket: Duplex) => unknown, string]>([
  [
    "refuses",
    (socket) => socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    "the proxy answers 502 for registry.example.com",
  ],
  ["hangs up", (socket) => socket.destroy(), "registry.example.com"],
])("behind a proxy that %s a registry is out of reach", async (_, answer, got) => {
  const problem = await problemOf(REFERENCE, through(await startProxy(answer)));
  expect(problem).toMatchObject({ kind: "unreachable", got: expect.stringContaining(got) as unknown });
  expect(JSON.stringify(problem)).not.toContain("pr0xy");
});

test.each<[string, (socket: Duplex) => unknown]>([
  ["is silent", () => undefined],
  ["leads to a silent host", (socket) => socket.write("HTTP/1.1 200 Connection established\r\n\r\n")],
])("behind a proxy that %s a registry is out of reach after a while", async (_, answer) => {
  const proxy = await startProxy(answer);
  const problem = await problemOf(REFERENCE, through(proxy, { ...PATIENT, connect: 300 }));
  expect(problem).toMatchObject({ kind: "unreachable", got: "no connection to registry.example.com in 300 ms" });
});

test("what is out of reach is not asked for again", async () => {
  const proxy = await startProxy((socket) => socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
  const references = Array.from({ length: 20 }, (_, n) => `registry.example.com/app:${n}`);
  const { problems } = await run(references, through(proxy));
  expect([...problems.values()].map(({ kind }) => kind)).toEqual(references.map(() => "unreachable"));
  expect(proxy.targets.length).toBeLessThanOrEqual(6);
});

test("a proxy that is no URL is said to be none, without its password", async () => {
  const environment = { HTTPS_PROXY: "http://user:pr0xy@:0:0" };
  const problem = await problemOf(REFERENCE, { network: { ...testNetwork(), environment } });
  expect(problem).toMatchObject({ kind: "unreachable", got: "HTTPS_PROXY is no URL" });
  expect(JSON.stringify(problem)).not.toContain("pr0xy");
});

test("a run that is called off does not wait for a proxy, and leaves no connection behind", async () => {
  const controller = new AbortController();
  let closed: Promise<unknown> = Promise.resolve();
  const proxy = await startProxy((socket) => {
    closed = new Promise((resolve) => socket.resume().once("end", resolve));
    controller.abort(new Error("enough"));
  });
  await expect(run([REFERENCE], { ...through(proxy), signal: controller.signal })).rejects.toThrow("enough");
  await closed;
});
