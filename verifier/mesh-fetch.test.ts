import { generateKeyPairSync } from "node:crypto";
import type { Server } from "node:http";
import { createServer, type Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Authority, issueChain } from "../coordinator/state/authority.ts";
import { issueCa, issueLeaf, type SubjectName } from "../pki/certificate.ts";
import { privateKeyPem } from "../pki/keys.ts";
import { meshFetch, type MeshFetch, type MeshFetchOptions } from "./mesh-fetch.ts";
import { ada, eve, TestCoordinator } from "./test-coordinator.ts";
import { verifyDeployment, VerifyRefusal } from "./verifier.ts";

/** A workload behind TLS, and a Coordinator, both over real sockets. */

const ADDRESS = "127.121.0.3";
const WEB: readonly SubjectName[] = [
  { kind: "dns", value: "web" },
  { kind: "ip", value: ADDRESS },
];
const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });

let coordinator: TestCoordinator;
let api: Server;
let url: string;
let web: TlsServer;
let origin: string;
const meshes: MeshFetch[] = [];

beforeEach(async () => {
  coordinator = await TestCoordinator.create({}, new Date());
  ({ server: api, url } = await coordinator.listen(ADDRESS));
  web = createServer({
    ...identity(),
    minVersion: "TLSv1.3",
    ca: coordinator.state.authority.meshCa,
    requestCert: true,
  });
  web.on("request", ({ socket }, response) => {
    response.end((socket as TLSSocket).getPeerCertificate().subject?.CN ?? "a stranger");
  });
  await new Promise<void>((resolve) => web.listen(0, ADDRESS, resolve));
  origin = `https://${ADDRESS}:${(web.address() as AddressInfo).port}`;
});

afterEach(async () => {
  for (const server of [api, web]) {
    server.closeAllConnections();
    server.close();
  }
  await Promise.all(meshes.splice(0).map((mesh) => mesh.dispatcher.destroy()));
});

/** A workload's certificate, and its key. */
function identity(names = WEB, authority: Authority = coordinator.state.authority) {
  const leaf = { publicKey: keys.publicKey, names, extensions: new Map() };
  return {
    cert: issueChain(authority, leaf, new Date()),
    key: privateKeyPem(keys.privateKey),
    rejectUnauthorized: false,
  };
}

/** The workload has another certificate from now on. */
function show(changes: object): void {
  web.setSecureContext({ ...identity(), ...changes, minVersion: "TLSv1.3" });
}

/** Both sides know then that the connections of before are gone. */
async function hangUp(): Promise<void> {
  web.closeAllConnections();
  await new Promise((resolve) => setTimeout(resolve, 30));
}

async function connect(options: MeshFetchOptions = {}): Promise<MeshFetch> {
  const verified = await verifyDeployment({ url, manifest: coordinator.manifest, allowInsecure: true });
  const mesh = meshFetch(verified, options);
  meshes.push(mesh);
  return mesh;
}

async function reason(answer: Promise<unknown>): Promise<{ readonly code?: unknown; readonly message: string }> {
  const error = await answer.then(
    () => new Error("it was answered"),
    (thrown: unknown) => thrown as Error,
  );
  return (error.cause ?? error) as Error;
}

const attestations = (): number => coordinator.asked.filter((path) => path === "/v1/attest").length;

test("a workload of the deployment is believed, by its address and by its name", async () => {
  const mesh = await connect();
  const response = await mesh(origin);
  expect([response.status, await response.text()]).toEqual([200, "a stranger"]);
  expect((await (await connect({ serverName: "web" }))(origin)).status).toBe(200);
  expect(attestations()).toBe(2);
});

test("a client may show a certificate of the mesh, another one at each connection", async () => {
  const certificates = ["client-1", "client-2"].map((value) => identity([{ kind: "dns", value }]));
  let count = 0;
  const mesh = await connect({
    client: () => ({ certChain: certificates[count++ % 2]?.cert ?? "", key: certificates[0]?.key ?? "" }),
  });
  expect(await (await mesh(origin)).text()).toBe("client-1");
  await hangUp();
  expect(await (await mesh(origin)).text()).toBe("client-2");
});

test("another name than the one that was asked for is refused, and is no reason to verify anything", async () => {
  const mesh = await connect({ serverName: "emoji" });
  expect((await reason(mesh(origin))).code).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
  // A header says nothing about who is meant.
  expect((await reason(mesh(origin, { headers: { host: "web" } }))).code).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
  // A workload without names has a common name that is everybody's.
  show(identity([]));
  const workload = await connect({ serverName: "workload" });
  expect((await reason(workload(origin))).message).toContain("no name");
  expect(attestations()).toBe(2);
});

test("a set is followed once it was verified, and connections of before are used no more", async () => {
  const seen: number[] = [];
  const mesh = await connect({ onFollow: ({ manifest }) => void seen.push(manifest.generation) });
  expect((await mesh(origin)).status).toBe(200);
  await coordinator.set({ NotBefore: "2026-05-01T00:00:00Z" }, [ada]);
  show(identity());
  await hangUp();
  const answers = await Promise.all(Array.from({ length: 8 }, () => mesh(origin)));
  expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
  expect([mesh.verified().manifest.generation, seen, attestations()]).toEqual([2, [2], 2]);

  // From now on the mesh CA of before is nobody's.
  const old = coordinator.state;
  await coordinator.set({ NotBefore: "2026-05-02T00:00:00Z" }, [ada]);
  await mesh.follow();
  show(identity(WEB, old.authority));
  await hangUp();
  expect((await reason(mesh(origin))).code).toBe("UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
});

test("a mesh CA that nobody attested is refused, and its owner can't have the deployment verified at will", async () => {
  const mesh = await connect();
  show(identity(WEB, (await TestCoordinator.create({}, new Date())).state.authority));
  for (let tries = 0; tries < 5; tries++) {
    expect((await reason(mesh(origin))).code).toBe("UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  }
  expect(attestations()).toBe(2);
  // Names and dates as the real one's, and the CA along.
  const names = {
    issuer: { name: "Contrast mesh CA", key: eve },
    notBefore: new Date(0),
    notAfter: new Date("2040-01-01"),
  };
  const forged = issueCa({ ...names, subject: "Contrast mesh CA", publicKey: eve.publicKey, pathLength: 0 });
  const leaf = issueLeaf({ ...names, subject: "web", publicKey: keys.publicKey, names: WEB });
  show({ cert: leaf + forged });
  expect((await reason(mesh(origin))).code).toMatch(/SELF_SIGNED_CERT_IN_CHAIN|SIGNATURE/);
  expect(attestations()).toBe(2);
});

test("the root CA of the deployment does not count: it speaks for every mesh CA of before", async () => {
  const mesh = await connect();
  const { rootKey } = coordinator.state.authority;
  const names = {
    issuer: { name: "Contrast root CA", key: rootKey },
    notBefore: new Date(0),
    notAfter: new Date("2040-01-01"),
  };
  const leaf = issueLeaf({ ...names, subject: "web", publicKey: keys.publicKey, names: WEB });
  show({ cert: leaf + coordinator.state.authority.rootCa });
  expect((await reason(mesh(origin))).code).toBe("SELF_SIGNED_CERT_IN_CHAIN");
});

test("a Coordinator that was rolled back, or changed without its owners, is not followed", async () => {
  const start = coordinator.state;
  await coordinator.set({ NotBefore: "2026-05-01T00:00:00Z" }, [ada]);
  show(identity());
  const mesh = await connect();
  coordinator.state = start;
  await coordinator.recover();
  show(identity());
  const error = await reason(mesh(origin));
  expect(error).toBeInstanceOf(VerifyRefusal);
  expect(error.code).toBe("not_continued");
  expect(mesh.verified().manifest.generation).toBe(2);

  coordinator.state = start;
  show(identity());
  const other = await connect();
  await coordinator.set({ NotBefore: "2026-05-03T00:00:00Z" }, [eve]);
  show(identity());
  expect((await reason(other(origin))).code).toBe("unauthorized_history");
});

test("what was verified too long ago is verified again before a connection is made", async () => {
  const mesh = await connect({ maxAgeMs: 50 });
  expect((await mesh(origin)).status).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await hangUp();
  expect((await mesh(origin)).status).toBe(200);
  expect(attestations()).toBe(2);
  api.closeAllConnections();
  api.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  await hangUp();
  expect((await reason(mesh(origin))).code).toBe("unreachable");
});

test("nothing goes out without TLS, or with less than 1.3", async () => {
  const mesh = await connect();
  expect((await reason(mesh(url))).message).toContain("no TLS");
  web.setSecureContext({ ...identity(), maxVersion: "TLSv1.2" });
  expect((await reason(mesh(origin))).code).toMatch(/PROTOCOL|ALERT/);
});

test("a variable that turns the check of certificates off changes nothing", async () => {
  const mesh = await connect();
  show(identity(WEB, (await TestCoordinator.create({}, new Date())).state.authority));
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  try {
    expect((await reason(mesh(origin))).code).toBe("UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  } finally {
    delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
  }
});
