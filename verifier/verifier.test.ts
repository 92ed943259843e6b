import type { Server } from "node:http";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { COORDINATOR_HASH, NOW, TestCoordinator } from "./test-coordinator.ts";
import { verifyDeployment, type VerifyDeploymentOptions } from "./verifier.ts";

const ADDRESS = "127.121.0.1";

let coordinator: TestCoordinator;
let server: Server;
let url: string;

beforeAll(async () => {
  coordinator = await TestCoordinator.create();
  await coordinator.set({ NotBefore: "2026-05-01T00:00:00Z" });
  ({ server, url } = await coordinator.listen(ADDRESS));
});

beforeEach(() => {
  coordinator.lies = {};
  coordinator.asked.length = 0;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function verify(changes: Partial<VerifyDeploymentOptions> = {}) {
  return verifyDeployment({ url, manifest: coordinator.manifest, allowInsecure: true, now: () => NOW, ...changes });
}

test("a deployment is verified by one call", async () => {
  const facts = await verify();
  expect(facts).toMatchObject({
    insecure: true,
    coordinator: { tee: "snp", policy: COORDINATOR_HASH, referenceValues: "$.ReferenceValues.insecure[0]" },
    manifest: { sha256: sha256Hex(coordinator.manifest), generation: 2, text: coordinator.manifest.toString() },
    verifiedAt: NOW.toISOString(),
    meshCa: { pem: coordinator.state.authority.meshCa },
    rootCa: { pem: coordinator.state.authority.rootCa },
  });
  expect(facts.history.map(({ kind, signedBy }) => [kind, signedBy.length])).toEqual([
    ["first", 0],
    ["set", 1],
  ]);
});
