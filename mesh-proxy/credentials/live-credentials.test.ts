import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { publish, type PublishedFile } from "../../initializer/publish.ts";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import type { LogLine } from "../../test/mesh-proxies.ts";
import { MeshProxyError } from "../faults.ts";
import { LiveCredentials } from "./live-credentials.ts";

let mesh: Mesh;
let first: Workload;
let second: Workload;
let newMesh: Mesh;
let third: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  newMesh = await createMesh();
  first = await mesh.issue();
  second = await mesh.issue();
  third = await newMesh.issue();
});

function files({ meshCa }: Mesh, { certChain, key }: Workload): PublishedFile[] {
  return [
    { name: "certChain.pem", content: certChain, mode: 0o444 },
    { name: "key.pem", content: key, mode: 0o400 },
    { name: "mesh-ca.pem", content: meshCa, mode: 0o444 },
  ];
}

/** A folder as the Initializer leaves it. */
async function publishedFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tls-config-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  await publish(folder, files(mesh, first));
  return folder;
}

/** A folder of plain files. */
async function plain(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tls-config-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  for (const { name, content } of files(mesh, first)) await writeFile(join(folder, name), content);
  return folder;
}

interface Live {
  readonly credentials: LiveCredentials;
  readonly lines: readonly LogLine[];
}

async function open(folder: string): Promise<Live> {
  const lines: LogLine[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) });
  const credentials = await LiveCredentials.open(folder, log, () => new Date());
  return { credentials, lines };
}

async function follow(folder: string): Promise<Live> {
  const live = await open(folder);
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  void live.credentials.follow(stop.signal);
  return live;
}

const WAIT = { timeout: 10_000 };

test("a set that is published by its link is taken up, with another CA too", async () => {
  const folder = await publishedFolder();
  const { credentials, lines } = await follow(folder);
  await publish(folder, files(newMesh, third));
  await expect.poll(() => credentials.current.certChain, WAIT).toBe(third.certChain);
  expect(credentials.current.meshCa).toBe(newMesh.meshCa);
  expect(lines).toMatchObject([{ msg: "new certificates are in use" }]);
  expect(credentials.failures).toBe(0);
});

test("files that are renamed into place are taken up as one set", async () => {
  const folder = await plain();
  const { credentials, lines } = await follow(folder);
  const changes: string[] = [];
  credentials.onChange(({ certChain }) => changes.push(certChain));
  for (const { name, content } of files(newMesh, third)) {
    await writeFile(join(folder, `${name}.new`), content);
    await rename(join(folder, `${name}.new`), join(folder, name));
  }
  await expect.poll(() => changes, WAIT).toEqual([third.certChain]);
  expect(lines.map(({ msg }) => msg)).toEqual(["new certificates are in use"]);
});

test("files that are replaced by the same ones change nothing", async () => {
  const folder = await publishedFolder();
  const { credentials, lines } = await open(folder);
  const before = credentials.current;
  await publish(folder, files(mesh, first));
  await credentials.reload();
  expect(credentials.current).toBe(before);
  expect(lines).toEqual([]);
});

test("a set that a user refuses leaves the old one", async () => {
  const folder = await publishedFolder();
  const { credentials, lines } = await open(folder);
  let refuses = true;
  credentials.onChange(() => {
    if (refuses) throw new MeshProxyError("certificates", "keys of another kind");
  });
  await publish(folder, files(mesh, second));
  await credentials.reload();
  expect(credentials.current.certChain).toBe(first.certChain);
  expect(credentials.failures).toBe(1);
  expect(lines).toMatchObject([{ code: "certificates" }]);
  refuses = false;
  await credentials.reload();
  expect(credentials.current.certChain).toBe(second.certChain);
});

test("a set that is broken leaves the old one, says so once, and the next good one is taken up", async () => {
  const folder = await publishedFolder();
  const { credentials, lines } = await follow(folder);
  await publish(folder, [...files(mesh, second).slice(0, 2), { name: "mesh-ca.pem", content: "no PEM", mode: 0o444 }]);
  await expect.poll(() => credentials.failures, WAIT).toBe(1);
  expect(credentials.current.certChain).toBe(first.certChain);
  await publish(folder, files(mesh, second));
  await expect.poll(() => credentials.current.certChain, WAIT).toBe(second.certChain);
  expect(lines).toMatchObject([
    { level: 50, code: "certificates", where: join(folder, "mesh-ca.pem"), got: "no certificate" },
    { msg: "new certificates are in use" },
  ]);
  expect(credentials.failures).toBe(1);
});

test.each([
  ["the key of another leaf", (): PublishedFile[] => files(mesh, { ...second, key: first.key }), "key.pem"],
  ["another CA than the leaf's", (): PublishedFile[] => files(newMesh, second), "mesh-ca.pem"],
  ["a file less", (): PublishedFile[] => files(mesh, second).slice(1), "certChain.pem"],
])("a set with %s leaves the old one", async (_, set, name) => {
  const folder = await publishedFolder();
  const { credentials, lines } = await open(folder);
  await publish(folder, set());
  await credentials.reload();
  expect(credentials.current.certChain).toBe(first.certChain);
  expect(credentials.failures).toBe(1);
  expect(lines).toMatchObject([{ code: "certificates", where: join(folder, name) }]);
});

test("sets that are published one after the other are never mixed", async () => {
  const folder = await publishedFolder();
  const { credentials, lines } = await open(folder);
  const sets = [files(newMesh, third), files(mesh, second), files(mesh, first)];
  const publishing = (async () => {
    for (let round = 0; round < 20; round++) await publish(folder, sets[round % sets.length] ?? []);
  })();
  const published = new AbortController();
  void publishing.finally(() => published.abort());
  while (!published.signal.aborted) await credentials.reload();
  await credentials.reload();
  expect(credentials.current.certChain).toBe(second.certChain);
  // A set that changes faster than it can be read is not used; one that does not fit together would be named.
  expect(lines.filter(({ where }) => where !== undefined && where !== folder)).toEqual([]);
});
