import type { ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { gzipSync } from "node:zlib";
import { expect, onTestFinished, test } from "vitest";
import type { ImageProblemKind } from "./problem.ts";
import {
  content,
  type Content,
  descriptor,
  digest,
  makeImage,
  makeIndex,
  manifestOf,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from "./test-image.ts";
import { PATIENT, problemOf, run, testNetwork } from "./test-resolve.ts";
import { type Handler, registryOf, registryOfImage, startServer, status } from "./test-server.ts";

/** Registries that hang, lie or break off, and what is said of each. */

const image = makeImage();
const HASTY = { ...testNetwork(), deadlines: { ...PATIENT, answer: 300 } };
const BLOB = `GET blobs/${image.config.digest}`;
const MANIFEST = `GET manifests/${image.manifest.digest}`;

async function served(answers: Readonly<Record<string, Handler>>): ReturnType<typeof problemOf> {
  const { host } = await startServer(registryOfImage(image, answers));
  return problemOf(`${host}/app:1`);
}

/** Of a registry whose tag `1` is this document. */
async function tagged(manifest: Content, ...others: readonly Content[]): ReturnType<typeof problemOf> {
  const { host } = await startServer(registryOf([manifest, ...others], { 1: manifest }));
  return problemOf(`${host}/app:1`);
}

function bytes(body: Buffer | string, headers: Readonly<Record<string, string>> = {}): Handler {
  return (_, response) => void response.writeHead(200, { "content-type": OCI_MANIFEST, ...headers }).end(body);
}

function drip(response: ServerResponse): void {
  response.writeHead(200, { "content-type": OCI_MANIFEST });
  const timer = setInterval(() => response.write(" "), 20);
  response.once("close", () => clearInterval(timer));
}

test.each<[string, Handler]>([
  ["does not answer", () => undefined],
  ["sends the head alone", (_, response) => response.writeHead(200, { "content-type": OCI_MANIFEST }).flushHeaders()],
  ["drips", (_, response) => drip(response)],
])("a registry that %s is given up at the deadline, for all of its images", async (_, handler) => {
  const { host, requests } = await startServer(handler);
  const references = Array.from({ length: 20 }, (_, n) => `${host}/app@${digest(String(n))}`);
  const { problems } = await run(references, { network: HASTY });
  expect(new Set([...problems.values()].map(({ kind }) => kind))).toEqual(new Set(["no_answer"]));
  expect(problems.size).toBe(20);
  expect(requests.length).toBeLessThanOrEqual(6);
});

test("a registry that hangs up in the middle is asked once more", async () => {
  const { host, requests } = await startServer(
    registryOfImage(image, {
      [BLOB]: (_, response) =>
        void response.writeHead(200, { "content-length": "99" }).write("{", () => response.destroy()),
    }),
  );
  const problem = await problemOf(`${host}/app:1`);
  expect(problem).toMatchObject({
    kind: "invalid_answer",
    got: expect.stringContaining("closes the connection") as unknown,
  });
  expect(requests.filter((request) => request.includes("/blobs/"))).toHaveLength(2);
});

test("a reset of a connection is survived", async () => {
  let count = 0;
  const { host } = await startServer((request, response) => {
    if (++count === 1) request.socket.resetAndDestroy();
    else registryOfImage(image)(request, response);
  });
  const { images } = await run([`${host}/app:1`]);
  expect(images.size).toBe(1);
});

test.each<[string, ImageProblemKind, string, Readonly<Record<string, Handler>>]>([
  ["lies about a manifest", "invalid_answer", "content of digest sha256:", { [MANIFEST]: bytes("{}") }],
  ["lies about a config", "invalid_answer", "content of digest sha256:", { [BLOB]: bytes("{}") }],
  [
    "names another digest",
    "not_found",
    "404",
    { "HEAD manifests/1": status(200, { "docker-content-digest": digest("x") }) },
  ],
  ["sends a longer config than its manifest says", "invalid_answer", "more than", { [BLOB]: bytes(" ".repeat(9999)) }],
  [
    "sends HTML for a manifest",
    "invalid_answer",
    `content type "text/html"`,
    { [MANIFEST]: bytes("<html>", { "content-type": "text/html" }) },
  ],
  [
    "sends HTML for everything",
    "invalid_answer",
    `content type "text/html"`,
    {
      "HEAD manifests/1": status(200, { "content-type": "text/html" }),
      "GET manifests/1": bytes("<html>", { "content-type": "text/html" }),
    },
  ],
  [
    "compresses",
    "invalid_answer",
    "compressed",
    { [MANIFEST]: bytes(gzipSync(Buffer.alloc(1e7)), { "content-encoding": "gzip" }) },
  ],
  ["has no such tag", "not_found", "404", { "HEAD manifests/1": status(404) }],
  ["wants no visitors", "denied", "403", { "HEAD manifests/1": status(403) }],
  ["says 401 without a challenge", "invalid_answer", "asks for nothing known", { "HEAD manifests/1": status(401) }],
  ["answers 204", "invalid_answer", "204", { "HEAD manifests/1": status(204) }],
  ["redirects to nowhere", "invalid_answer", "redirects to where nobody follows", { [BLOB]: status(307) }],
  [
    "redirects to itself for ever",
    "invalid_answer",
    "more than 5 times",
    { [BLOB]: status(307, { location: `/v2/app/blobs/${image.config.digest}` }) },
  ],
])("a registry that %s is refused", async (_, kind, got, answers) => {
  await expect(served(answers)).resolves.toMatchObject({ kind, got: expect.stringContaining(got) as unknown });
});

test.each(["manifest", "blob"])("a %s without an end is cut off", async (what) => {
  let closed: Promise<unknown> = Promise.resolve();
  const pour: Handler = (_, response) => {
    closed = new Promise((resolve) => response.once("close", resolve));
    response.writeHead(200, { "content-type": OCI_MANIFEST });
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on("drain", more);
    more();
  };
  const { host } = await startServer(registryOfImage(image, { [what === "blob" ? BLOB : MANIFEST]: pour }));
  const limit = what === "blob" ? image.config.bytes.length : 4 * 1024 * 1024;
  const problem = await problemOf(`${host}/app:1`);
  expect(problem).toMatchObject({ kind: "invalid_answer", want: `at most ${limit} bytes` });
  await closed;
});

const config = descriptor(image.config);

test.each<[string, ImageProblemKind, string, Content]>([
  ["no JSON", "invalid_answer", "is not JSON", content(OCI_MANIFEST, Buffer.from("{"))],
  ["no UTF-8", "invalid_answer", "is not JSON", content(OCI_MANIFEST, Buffer.from([0x22, 0xff, 0x22]))],
  ["a list", "invalid_answer", "is malformed", content(OCI_MANIFEST, [])],
  [
    "of schema 1",
    "unsupported_image",
    "schema 1",
    content("application/vnd.docker.distribution.manifest.v1+prettyjws", {}),
  ],
  ["of schema 1 under a wrong type", "unsupported_image", "schema 1", content(OCI_MANIFEST, { schemaVersion: 1 })],
  ["of schema 3", "invalid_answer", "schemaVersion 3", content(OCI_MANIFEST, { schemaVersion: 3, config })],
  ["nothing", "invalid_answer", "neither", content(OCI_MANIFEST, { schemaVersion: 2 })],
  [
    "an index and a manifest",
    "invalid_answer",
    "at once",
    content(OCI_INDEX, { schemaVersion: 2, manifests: [], config }),
  ],
  [
    "a manifest that calls itself an index",
    "invalid_answer",
    "media type",
    content(OCI_MANIFEST, { schemaVersion: 2, mediaType: OCI_INDEX, config }),
  ],
  ["of a config with a negative size", "invalid_answer", "config.size", manifestOf({ ...config, size: -1 })],
  ["of a config with half a size", "invalid_answer", "config.size", manifestOf({ ...config, size: 1.5 })],
  ["of a config of a terabyte", "invalid_answer", "1000000000000 bytes", manifestOf({ ...config, size: 1e12 })],
  ["of a config at a path", "invalid_answer", "config.digest", manifestOf({ ...config, digest: "sha256:../../x" })],
  [
    "of a config that is longer than it says",
    "invalid_answer",
    "more than 9 bytes",
    manifestOf({ ...config, size: 9 }),
  ],
  [
    "of a config that is shorter than it says",
    "invalid_answer",
    "bytes of sha256:",
    manifestOf({ ...config, size: 9999 }),
  ],
  [
    "of a Helm chart",
    "unsupported_image",
    "helm",
    manifestOf({ ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" }),
  ],
  [
    "an index without our platform",
    "unsupported_image",
    "linux/arm64",
    makeIndex({ content: image.manifest, platform: { os: "linux", architecture: "arm64" } }),
  ],
  ["an index without platforms", "unsupported_image", "without platforms", makeIndex({ content: image.manifest })],
  ["an empty index", "unsupported_image", "without platforms", makeIndex()],
])("a manifest that is %s is refused", async (_, kind, got, manifest) => {
  await expect(tagged(manifest, image.config)).resolves.toMatchObject({
    kind,
    got: expect.stringContaining(got) as unknown,
  });
});

test("an index inside of an index is refused", async () => {
  const platform = { os: "linux", architecture: "amd64" };
  const inner = makeIndex({ content: image.manifest, platform });
  const problem = await tagged(makeIndex({ content: inner, platform }), inner);
  expect(problem).toMatchObject({ kind: "unsupported_image", got: "an index inside of an index" });
});

test("an index of twenty thousand manifests is read, and one of more than 4 MiB is not", async () => {
  const entry = descriptor(image.manifest);
  const platform = { os: "linux", architecture: "amd64" };
  const huge = (count: number): Content =>
    content(OCI_INDEX, {
      schemaVersion: 2,
      manifests: [...Array.from({ length: count }, () => entry), { ...entry, platform }],
    });
  const { host } = await startServer(registryOf([huge(20_000), image.manifest, image.config], { 1: huge(20_000) }));
  await expect(run([`${host}/app:1`])).resolves.toMatchObject({ problems: new Map() });
  await expect(tagged(huge(40_000))).resolves.toMatchObject({ kind: "invalid_answer", want: "at most 4194304 bytes" });
});

test.each<[string, ImageProblemKind, string, object]>([
  ["for Windows", "unsupported_image", "windows/amd64", { os: "windows", architecture: "amd64" }],
  ["for nothing", "invalid_answer", "malformed at os", {}],
])("a config that is %s is refused", async (_, kind, got, platform) => {
  const { manifest, config } = makeImage({}, platform);
  await expect(tagged(manifest, config)).resolves.toMatchObject({ kind, got: expect.stringContaining(got) as unknown });
});

test.each<[string, object]>([
  ["Entrypoint", { Entrypoint: "sh" }],
  ["Env", { Env: [1] }],
  ["WorkingDir", { WorkingDir: "relative" }],
  ["Volumes", { Volumes: ["/a"] }],
])("a config with a malformed %s is refused", async (field, wrong) => {
  const { manifest, config } = makeImage(wrong);
  const problem = await tagged(manifest, config);
  expect(problem).toMatchObject({
    kind: "invalid_answer",
    got: expect.stringContaining(`malformed at config.${field}`) as unknown,
  });
});

test("a config that is no config is refused", async () => {
  const config = content(OCI_CONFIG, Buffer.from("[".repeat(1e5)));
  const problem = await tagged(manifestOf(descriptor(config)), config);
  expect(problem).toMatchObject({ kind: "invalid_answer", got: expect.stringContaining("is not JSON") as unknown });
});

test("a busy registry is asked again, after as long as it says", async () => {
  let count = 0;
  const answers = [
    status(429, { "retry-after": "7" }),
    status(503, { "retry-after": "Mon, 01 Jun 2026 00:00:09 GMT" }),
  ];
  const { host } = await startServer((request, response) =>
    (answers[count++] ?? registryOfImage(image))(request, response),
  );
  const { images, slept } = await run([`${host}/app:1`]);
  expect(images.size).toBe(1);
  expect(slept).toEqual([7375, 9750]);
});

test.each([
  ["three times", {}, 3],
  ["for an hour", { "retry-after": "3600" }, 1],
])("a registry that is busy %s is not asked for its other images", async (_, headers, tries) => {
  const { host, requests } = await startServer(status(429, headers));
  const { problems } = await run(Array.from({ length: 20 }, (_, n) => `${host}/app:${n}`));
  expect([...problems.values()].map(({ kind }) => kind)).toEqual(Array.from({ length: 20 }, () => "busy"));
  expect(requests.length).toBeLessThanOrEqual(6 * tries);
});

test("a port without a listener is out of reach", async () => {
  const { host, close } = await startServer(status(200));
  await close();
  const problem = await problemOf(`${host}/app:1`);
  expect(problem).toMatchObject({ kind: "unreachable", got: `ECONNREFUSED for ${host}` });
});

test("a name that does not exist is out of reach", async () => {
  const problem = await problemOf("registry.invalid/app:1");
  expect(problem).toMatchObject({
    kind: "unreachable",
    got: expect.stringMatching(/^E\w+ for registry\.invalid$/) as unknown,
  });
});

test("a host that takes no connection is out of reach", async () => {
  const port = await startDeafListener();
  const network = { ...testNetwork(), deadlines: { ...PATIENT, connect: 300 } };
  const problem = await problemOf(`127.0.0.1:${port}/app:1`, { network });
  expect(problem).toMatchObject({ kind: "unreachable", got: `no connection to 127.0.0.1:${port} in 300 ms` });
});

test("what is no HTTP is refused", async () => {
  const server = createServer((socket) => void socket.end("SSH-2.0-OpenSSH_9.2\r\n"));
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const problem = await problemOf(`127.0.0.1:${port}/app:1`);
  expect(problem).toMatchObject({ kind: "invalid_answer", got: expect.stringContaining("HPE_") as unknown });
});

/** A port whose queue of connections is full: nobody accepts any, and the kernel drops who comes. */
async function startDeafListener(): Promise<number> {
  const worker = new Worker(
    `const { parentPort } = require("node:worker_threads");
     const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     });`,
    { eval: true },
  );
  onTestFinished(() => worker.terminate().then(() => undefined));
  const port = await new Promise<number>((resolve) => worker.once("message", resolve));
  const fillers: Socket[] = [];
  onTestFinished(() => fillers.forEach((socket) => socket.destroy()));
  for (let isFull = false; !isFull;) {
    const socket = connect(port, "127.0.0.1").on("error", () => undefined);
    fillers.push(socket);
    isFull = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(false));
      // On a busy machine the connection may stand, and nobody has looked yet.
      setTimeout(() => setImmediate(() => resolve(socket.connecting)), 200);
    });
  }
  return port;
}
