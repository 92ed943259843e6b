import { afterAll, beforeAll, expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import { PORT, startAttest, type TestAttest } from "../coordinator/attest/test-attest.ts";
import { COORDINATOR, manifestFor, WORKLOAD } from "../coordinator/peers/test-coordinator.ts";
import {
  followDeployment,
  toStatement,
  verifyDeployment,
  type VerifyDeploymentOptions,
  verifyStatement,
} from "./verifier.ts";
import { refusal } from "./test-refusal.ts";

/** The port of a real Coordinator with a software TEE, asked over real sockets. */

const ADDRESS = "127.121.0.4";
const URL = `http://${ADDRESS}:${PORT}`;
const coordinatorHash = sha256Hex(COORDINATOR);

let coordinator: TestAttest;
let manifest: Buffer;

beforeAll(async () => {
  coordinator = await startAttest(ADDRESS);
  ({ manifest } = manifestFor(coordinator.deployment));
});

afterAll(() => coordinator.remove());

function verify(changes: Partial<VerifyDeploymentOptions> = {}) {
  return verifyDeployment({ url: URL, manifest, allowInsecure: true, ...changes });
}

test("a Coordinator is verified in each of its states, and told from one that is not ready", async () => {
  const notReady = { code: "not_ready", retryAfterMs: expect.any(Number) };
  expect(await refusal(verify())).toMatchObject({ ...notReady, got: '503 "no_manifest"' });

  await coordinator.set();
  const first = await verify({ policies: true, policy: coordinatorHash });
  expect(first).toMatchObject({
    coordinator: { policy: coordinatorHash },
    manifest: { generation: 1 },
    insecure: true,
  });
  expect(first.policies).toEqual({
    [coordinatorHash]: COORDINATOR.toString(),
    [sha256Hex(WORKLOAD)]: WORKLOAD.toString(),
  });
  expect(first.rootCa.pem).toBe(coordinator.guard().active().authority.rootCa);

  await coordinator.restart();
  expect(await refusal(verify())).toMatchObject({ ...notReady, got: '503 "needs_recovery"' });
  await coordinator.recover();
  const recovered = await followDeployment(first);
  expect(recovered.history).toEqual(first.history);
  expect(recovered.meshCa.keySha256).not.toBe(first.meshCa.keySha256);

  await coordinator.set({ name: "shop" });
  expect((await refusal(verify())).code).toBe("manifest_mismatch");
  const next = await followDeployment(recovered);
  expect(next.history.map(({ kind, signedBy }) => [kind, signedBy.length])).toEqual([
    ["first", 0],
    ["set", 1],
  ]);

  const statement = await toStatement(next);
  const kept = await verifyStatement(statement, { manifest: next.manifest.text, allowInsecure: true });
  expect(kept).toMatchObject({ transition: next.transition, after: { what: expect.stringContaining("SEV-VCEK") } });
});

test("many verifiers at once are all answered, each for its own nonce", async () => {
  const { manifest: inForce } = manifestFor(coordinator.deployment, { name: "shop" });
  const reports = coordinator.reports();
  const facts = await Promise.all(Array.from({ length: 12 }, () => verify({ manifest: inForce })));
  expect(new Set(facts.map(({ transition }) => transition)).size).toBe(1);
  expect(coordinator.reports() - reports).toBeLessThan(12);
});
