import { X509Certificate } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import { refusedClient, refusedUpstream } from "./refused-peers.ts";

/**
 * A certificate of before the last `set` still leads to the root CA, which stays. Proxies trust the mesh CA alone, so
 * neither that chain nor the root in it helps.
 */

const SUBNET = "127.83.40";

let mesh: Mesh;
let old: Mesh;
beforeAll(async () => {
  old = await createMesh();
  mesh = await old.nextGeneration();
});

test("the chain leads to the root CA", async () => {
  const [, intermediate = ""] =
    (await old.issue()).certChain.match(/-----BEGIN [^-]*-----[^-]*-----END [^-]*-----/g) ?? [];
  const root = new X509Certificate(mesh.rootCa);
  expect(new X509Certificate(intermediate).verify(root.publicKey)).toBe(true);
});

const CHAINS: readonly (readonly [string, (peer: Workload) => string])[] = [
  ["as it was issued", ({ certChain }) => certChain],
  ["with the root CA", ({ certChain }) => certChain + old.rootCa],
  ["with the mesh CA of then and of now", ({ certChain }) => certChain + old.meshCa + mesh.meshCa],
];

test.each(CHAINS)("a client with a chain of an earlier generation is refused, %s", async (_name, chain) => {
  const peer = await old.issue();
  const lines = await refusedClient({ mesh, peer: { ...peer, certChain: chain(peer) }, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "client_certificate_untrusted" }]);
});

test.each(CHAINS)("an upstream with a chain of an earlier generation is refused, %s", async (_name, chain) => {
  const peer = await old.issue();
  const lines = await refusedUpstream({ mesh, peer: { ...peer, certChain: chain(peer) }, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "upstream_untrusted" }]);
});
