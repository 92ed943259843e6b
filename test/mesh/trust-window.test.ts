import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createServer } from "node:tls";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { type Authority, createAuthority, endMeshCa, issueChain } from "../../coordinator/state/authority.ts";
import { generateEcKey, privateKeyPem } from "../../pki/keys.ts";
import type { Mesh, Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  refusals,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../mesh-proxies.ts";

/**
 * After a `set` with a MeshCAOverlap: peers with certificates of before are accepted until the window is over, and refused
 * from then on, although nobody changes the files. The certificates are those of a Coordinator's authority, and the peers
 * are OpenSSL's.
 */

const SUBNET = "127.45.1";
const HOUR = 3_600_000;

const START = new Date();
const UNTIL = new Date(Math.floor(START.getTime() / 1000) * 1000 + HOUR);
const afterWindow = new Date(UNTIL.getTime() + 1000);

let before: Authority;
let now: Authority;

beforeAll(async () => {
  const rootKey = await generateEcKey("P-384");
  const generation = async (number: number): Promise<Authority> =>
    createAuthority(
      {
        rootKey,
        meshKey: await generateEcKey("P-256"),
        generation: { number, manifest: `${number}`.repeat(64) },
        certificateLifetimeMs: 24 * HOUR,
      },
      START,
    );
  [before, now] = [await generation(1), await generation(2)];
});

async function workload(authority: Authority, name: string): Promise<Workload> {
  const { publicKey, privateKey } = await generateEcKey("P-256");
  const leaf = { publicKey, names: [{ kind: "dns", value: name }], extensions: new Map() } as const;
  return { certChain: issueChain(authority, leaf, START), key: privateKeyPem(privateKey) };
}

/** What is trusted, as the tests' kits take it. */
function trusting(...cas: readonly string[]): Mesh {
  return { meshCa: cas.join("") } as Mesh;
}

const inWindow = (): Mesh => trusting(now.meshCa, endMeshCa(before, START, UNTIL));

/** Follows its files, and the clock. */
function follow({ credentials }: StartedProxy): void {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  void credentials.follow(stop.signal);
}

/** Whether the application answers. */
async function reaches(mesh: Mesh, peer: Workload, host: string, port: number): Promise<boolean> {
  const socket = connectSecurely(mesh, peer, { host, port });
  socket.write("hello");
  const answer = await Promise.race([once(socket, "data").then(String, () => ""), ending(socket).then(() => "")]);
  socket.destroy();
  return answer === "hello";
}

const END = { timeout: 10_000 };

test("a client of before is accepted in the window and refused after it, and its open connection goes on", async () => {
  let clock = START;
  const [host, application] = [`${SUBNET}.1`, `${SUBNET}.2`];
  const port = await startServer(application, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(inWindow(), await workload(now, "server"), bindIngress(host, application, port), {
    now: () => clock,
  });
  follow(proxy);
  const [old, current] = [await workload(before, "web"), await workload(now, "web")];
  // It has not heard of the new mesh CA: it would refuse the server, and so trusts both here.
  expect(await reaches(inWindow(), old, host, port)).toBe(true);
  expect(await reaches(trusting(now.meshCa), current, host, port)).toBe(true);
  const open = connectSecurely(inWindow(), old, { host, port });
  open.write("first");
  expect(String((await once(open, "data"))[0])).toBe("first");

  clock = afterWindow;
  await expect.poll(async () => reaches(inWindow(), old, host, port), END).toBe(false);
  expect(await reaches(trusting(now.meshCa), current, host, port)).toBe(true);
  expect(refusals(proxy.lines).at(-1)).toMatchObject({ code: "client_certificate_untrusted" });
  expect(proxy.lines.map(({ msg }) => msg)).toContain("a mesh CA of before is trusted no more");
  open.write("second");
  expect(String((await once(open, "data"))[0])).toBe("second");
  open.destroy();
});

test("an upstream of before is accepted in the window and refused after it", async () => {
  let clock = START;
  const [host, upstream] = [`${SUBNET}.3`, `${SUBNET}.4`];
  const { certChain: cert, key } = await workload(before, "upstream");
  const server = createServer({ cert, key, ca: inWindow().meshCa, requestCert: true, minVersion: "TLSv1.3" });
  const port = await startServer(upstream, (socket) => void socket.pipe(socket), server);
  const proxy = await startLiveProxy(
    inWindow(),
    await workload(now, "client"),
    { CONTRAST_EGRESS_PROXY_CONFIG: `upstream#${host}:${port}#${upstream}:${port}#upstream` },
    { now: () => clock },
  );
  follow(proxy);
  const answers = async (): Promise<boolean> => {
    const socket = connectPlain(host, port);
    socket.write("hello");
    const answer = await Promise.race([once(socket, "data").then(String, () => ""), ending(socket).then(() => "")]);
    socket.destroy();
    return answer === "hello";
  };
  expect(await answers()).toBe(true);
  clock = afterWindow;
  await expect.poll(answers, END).toBe(false);
  expect(refusals(proxy.lines).at(-1)).toMatchObject({ code: "upstream_untrusted" });
});

test("a proxy that still shows its certificate of before is accepted by peers that trust both", async () => {
  const [host, application] = [`${SUBNET}.5`, `${SUBNET}.6`];
  const port = await startServer(application, (socket) => void socket.pipe(socket));
  await startLiveProxy(inWindow(), await workload(before, "server"), bindIngress(host, application, port));
  expect(await reaches(inWindow(), await workload(now, "web"), host, port)).toBe(true);
  // The one that trusts the new mesh CA alone is refused the server: the window is for who knows both.
  expect(await reaches(trusting(now.meshCa), await workload(now, "web"), host, port)).toBe(false);
});

test("without a window the certificate of before is refused at once", async () => {
  const [host, application] = [`${SUBNET}.7`, `${SUBNET}.8`];
  const port = await startServer(application, (socket) => void socket.pipe(socket));
  const server = await workload(now, "server");
  await startLiveProxy(trusting(now.meshCa), server, bindIngress(host, application, port));
  expect(await reaches(trusting(now.meshCa), await workload(before, "web"), host, port)).toBe(false);
});

test("an expired mesh CA of before in the file is not trusted from the start", async () => {
  const [host, application] = [`${SUBNET}.9`, `${SUBNET}.10`];
  const port = await startServer(application, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(inWindow(), await workload(now, "server"), bindIngress(host, application, port), {
    now: () => afterWindow,
  });
  expect(await reaches(trusting(now.meshCa), await workload(before, "web"), host, port)).toBe(false);
  expect(new X509Certificate(proxy.credentials.current.meshCa).raw).toEqual(new X509Certificate(now.meshCa).raw);
  // Written again as it was, it stays so.
  await writeFile(join(proxy.folder, "mesh-ca.pem"), inWindow().meshCa);
  await proxy.credentials.reload();
  expect(proxy.credentials.current.trustEnds).toBeUndefined();
});
