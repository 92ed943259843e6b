import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  content,
  descriptor,
  digest,
  makeImage,
  makeIndex,
  manifestOf,
  OCI_CONFIG,
  RESOLVED_CONFIG,
} from "./test-image.ts";
import { problemOf, run, temporaryDirectory } from "./test-resolve.ts";
import { registryOf, registryOfImage, startServer, status } from "./test-server.ts";

const LINUX = { os: "linux", architecture: "amd64" };
const image = makeImage();

test("an image is what its config says, and is pinned by the digest of its manifest", async () => {
  const { host } = await startServer(registryOfImage(image));
  const { images, problems } = await run([`${host}/app:1`]);
  expect(problems).toEqual(new Map());
  const resolved = { digest: image.manifest.digest, config: RESOLVED_CONFIG };
  expect(images).toEqual(new Map([[`${host}/app:1`, resolved]]));
});

test("an image for several platforms is pinned by its index, and is what it is on linux/amd64", async () => {
  const arm = makeImage({ Cmd: ["arm"] }, { os: "linux", architecture: "arm64" });
  const fast = makeImage({ Cmd: ["fast"] });
  const attestation = content("application/vnd.oci.image.manifest.v1+json", { schemaVersion: 2 });
  const index = makeIndex(
    { content: attestation, platform: { os: "unknown", architecture: "unknown" } },
    { content: arm.manifest, platform: { os: "linux", architecture: "arm64", variant: "v8" } },
    { content: fast.manifest, platform: { ...LINUX, variant: "v3" } },
    { content: image.manifest, platform: LINUX },
  );
  const { host } = await startServer(registryOf([index, image.manifest, image.config], { 1: index }));
  const { images } = await run([`${host}/app:1`]);
  expect(images.get(`${host}/app:1`)).toEqual({ digest: index.digest, config: RESOLVED_CONFIG });
});

test("what a config leaves out, or Docker writes as null, is empty", async () => {
  const empty = { entrypoint: [], cmd: [], env: [], workingDir: "", user: "", volumes: [] };
  const bare = content(OCI_CONFIG, LINUX);
  const manifest = manifestOf(descriptor(bare));
  const nulls = makeImage({ Entrypoint: null, Cmd: null, Env: null, WorkingDir: "", User: "", Volumes: null });
  const { host } = await startServer(
    registryOf([bare, manifest, nulls.config, nulls.manifest], { bare: manifest, nulls: nulls.manifest }),
  );
  const { images } = await run([`${host}/app:bare`, `${host}/app:nulls`]);
  expect([...images.values()].map(({ config }) => config)).toEqual([empty, empty]);
});

test("an image with a digest is asked for by it, whatever its tag says", async () => {
  const { host, requests } = await startServer(registryOfImage(image));
  const reference = `${host}/app:old@${image.manifest.digest}`;
  const { images } = await run([reference]);
  expect(images.get(reference)?.digest).toBe(image.manifest.digest);
  expect(requests[0]).toBe(`GET /v2/app/manifests/${image.manifest.digest}`);
});

test("digests by SHA-512 are as good", async () => {
  const sha512 = digest(image.manifest.bytes, "sha512");
  const { host } = await startServer(registryOf([{ ...image.manifest, digest: sha512 }, image.config]));
  const { images } = await run([`${host}/app@${sha512}`]);
  expect(images.get(`${host}/app@${sha512}`)).toEqual({ digest: sha512, config: RESOLVED_CONFIG });
});

test("a registry that names no digest for a tag is taken by its bytes", async () => {
  const { host } = await startServer(registryOfImage(image, { "HEAD manifests/1": status(200) }));
  const { images } = await run([`${host}/app:1`]);
  expect(images.get(`${host}/app:1`)?.digest).toBe(image.manifest.digest);
});

test("the same image is asked for once, however often and however it is spelt", async () => {
  const { host, requests } = await startServer(registryOf([image.manifest, image.config], { latest: image.manifest }));
  const spellings = [`${host}/app`, `${host}/app:latest`, `${host}/app`, `${host}/app@${image.manifest.digest}`];
  const { images, progress } = await run(spellings);
  expect(images.size).toBe(3);
  expect(new Set(requests).size).toBe(requests.length);
  expect(requests).toHaveLength(3);
  expect(progress.map((line) => line.split(" ")[0])).toEqual(["1/3", "2/3", "3/3"]);
});

test("at most eight requests are under way at once, and at most six to one registry", async () => {
  const open = [0, 0];
  let [most, mostOfOne] = [0, 0];
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const servers = await Promise.all(
    [0, 1].map((index) =>
      startServer((_, response) => {
        open[index] = (open[index] ?? 0) + 1;
        mostOfOne = Math.max(mostOfOne, ...open);
        most = Math.max(most, (open[0] ?? 0) + (open[1] ?? 0));
        // Nobody is answered before eight are there, and a ninth had its time to come.
        if (most === 8) setTimeout(answer, 100);
        void answered.then(() => {
          open[index] = (open[index] ?? 0) - 1;
          response.writeHead(404).end();
        });
      }),
    ),
  );
  const references = servers.flatMap(({ host }) => Array.from({ length: 20 }, (_, n) => `${host}/app:${n}`));
  const { problems } = await run(references);
  expect(problems.size).toBe(40);
  expect([most, mostOfOne]).toEqual([8, 6]);
});

test("what is known of the others does not hang on one that is not there", async () => {
  const { host } = await startServer(registryOfImage(image));
  const { images, problems } = await run([`${host}/app:2`, `${host}/app:1`, "Bad"]);
  expect([...images.keys()]).toEqual([`${host}/app:1`]);
  expect([...problems].map(([reference, { kind }]) => [reference, kind])).toEqual([
    [`${host}/app:2`, "not_found"],
    ["Bad", "malformed_reference"],
  ]);
});

test("a second run asks only what the tag stands for, and nothing where there is a digest", async () => {
  const cacheDirectory = temporaryDirectory();
  const { host, requests } = await startServer(registryOfImage(image));
  await run([`${host}/app:1`], { cacheDirectory });
  requests.length = 0;
  const { images } = await run([`${host}/app:1`, `${host}/app@${image.manifest.digest}`], { cacheDirectory });
  expect(images.size).toBe(2);
  expect(requests).toEqual(["HEAD /v2/app/manifests/1"]);
});

test("offline the cache is all there is, and what it lacks is said", async () => {
  const cacheDirectory = temporaryDirectory();
  const { host, requests } = await startServer(registryOfImage(image));
  const { images: online } = await run([`${host}/app:1`], { cacheDirectory });
  requests.length = 0;
  const references = [`${host}/app:1`, `${host}/app:2`, `${host}/app@${digest("another")}`];
  const { images, problems } = await run(references, { cacheDirectory, offline: true });
  expect(images).toEqual(online);
  expect([...problems.values()].map(({ kind }) => kind)).toEqual(["not_cached", "not_cached"]);
  expect(requests).toEqual([]);
});

test("a tag that was asked for and did not resolve is still the old one offline", async () => {
  const cacheDirectory = temporaryDirectory();
  const next = makeImage({ Cmd: ["next"] });
  let manifest = image.manifest;
  const { host } = await startServer((request, response) =>
    registryOf([image.manifest, image.config, next.manifest], { 1: manifest })(request, response),
  );
  await run([`${host}/app:1`], { cacheDirectory });
  manifest = next.manifest;
  await expect(problemOf(`${host}/app:1`, { cacheDirectory })).resolves.toMatchObject({ kind: "not_found" });
  const { images } = await run([`${host}/app:1`], { cacheDirectory, offline: true });
  expect(images.get(`${host}/app:1`)?.digest).toBe(image.manifest.digest);
});

test("damaged entries of the cache are fetched anew, and named offline", async () => {
  const cacheDirectory = temporaryDirectory();
  const { host, requests } = await startServer(registryOfImage(image));
  const reference = `${host}/app:1`;
  await run([reference], { cacheDirectory });
  const blob = join(cacheDirectory, "blobs", ...image.config.digest.split(":"));
  writeFileSync(blob, "{}");
  const problem = await problemOf(reference, { cacheDirectory, offline: true });
  expect(problem).toMatchObject({ kind: "not_cached", got: expect.stringContaining(blob) as unknown });
  requests.length = 0;
  const { images } = await run([reference], { cacheDirectory });
  expect(images.get(reference)?.config).toEqual(RESOLVED_CONFIG);
  expect(requests).toEqual(["HEAD /v2/app/manifests/1", `GET /v2/app/blobs/${image.config.digest}`]);
  await expect(run([reference], { cacheDirectory, offline: true })).resolves.toMatchObject({ problems: new Map() });
});

test("nobody else can read the cache", async () => {
  const cacheDirectory = join(temporaryDirectory(), "cache");
  const { host } = await startServer(registryOfImage(image));
  await run([`${host}/app:1`], { cacheDirectory });
  const modes = readdirSync(cacheDirectory, { recursive: true, encoding: "utf8" }).map((name) => {
    const stat = statSync(join(cacheDirectory, name));
    return stat.isDirectory() ? stat.mode & 0o077 : stat.mode & 0o777;
  });
  expect(new Set(modes)).toEqual(new Set([0, 0o600]));
});

test("without a place for the cache images are resolved all the same, and it is said once", async () => {
  const cacheDirectory = temporaryDirectory();
  rmSync(cacheDirectory, { recursive: true });
  writeFileSync(cacheDirectory, "a file");
  const { host } = await startServer(registryOfImage(image));
  const { images, warnings } = await run([`${host}/app:1`], { cacheDirectory });
  expect(images.size).toBe(1);
  expect(warnings).toEqual([expect.stringMatching(/nothing is kept in the cache of images, .* \((EEXIST|ENOTDIR)\)/)]);
});

test("a run that is called off ends with the reason", async () => {
  const controller = new AbortController();
  const { host } = await startServer(() => controller.abort(new Error("enough")));
  await expect(run([`${host}/app:1`], { signal: controller.signal })).rejects.toThrow("enough");
});
