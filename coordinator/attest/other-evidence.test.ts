import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import { AttestAnswer } from "../../api/http/answers.ts";
import { Clock } from "../../attestation/clock.ts";
import { NO_VENDORS } from "../../attestation/endorsements/test-vendors.ts";
import type { Attester, Evidence, SnpEvidence } from "../../attestation/evidence.ts";
import { toHex } from "../../bytes/encode.ts";
import { ChannelClient } from "../../channel/client.ts";
import { toWire } from "../../channel/evidence-wire.ts";
import type { Appraiser } from "../../channel/exchange.ts";
import { verifyStranger } from "../../manifest/appraise.ts";
import { generateEcKey } from "../../pki/keys.ts";
import { COORDINATOR, startCoordinator, WORKLOAD } from "../peers/test-coordinator.ts";
import { SharedBacking } from "../state/test-shared-store.ts";
import { evidenceToJson } from "./evidence-json.ts";
import { drawNonce, fromJson, startAttest, type TestAttest } from "./test-attest.ts";

/** Evidence of the HTTP API and of the attested channel, each shown where the other belongs, and answers that were mixed. */

const ADDRESS = "127.45.1.7";
const HONEST = "127.45.1.8";
const HOSTILE = "127.45.1.9";

let coordinator: TestAttest;
const clock = new Clock({ now: () => new Date(), built: () => undefined });

beforeAll(async () => {
  coordinator = await startAttest(ADDRESS);
  await coordinator.set();
});

afterAll(() => coordinator.remove());

const mismatch = expect.objectContaining({ code: "report_data_mismatch" }) as unknown;

/** Verifies a server of the channel as peers do, and keeps what it showed. */
function appraiser(seen: (evidence: Evidence) => void): Appraiser<string> {
  return async ({ evidence, reportData }) => {
    if (evidence === undefined) throw new Error("it shows none");
    seen(evidence);
    const roots = new Set([coordinator.deployment.vendor.rootDigest]);
    const verified = await verifyStranger({ evidence, reportData }, roots, {
      allowInsecure: true,
      clock,
      vendors: NO_VENDORS,
    });
    return verified.policyHash;
  };
}

/** Connects to a Coordinator's mesh API, whose evidence is verified before anything is asked. */
async function visit(
  address: string,
  attester?: Attester,
): Promise<{ error: unknown; evidence: Evidence | undefined }> {
  let evidence: Evidence | undefined;
  const client = new ChannelClient({
    target: `${address}:7777`,
    keys: await generateEcKey("P-256"),
    attester,
    appraiseServer: appraiser((shown) => (evidence = shown)),
    handshakeMs: 5000,
  });
  const call = client.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 10_000));
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  client.close();
  return { error, evidence };
}

async function withCoordinator<T>(
  address: string,
  attester: Attester<SnpEvidence> | undefined,
  use: () => Promise<T>,
): Promise<T> {
  const changes = attester === undefined ? {} : { attester };
  const server = await startCoordinator(coordinator.deployment, new SharedBacking().open(), address, changes);
  try {
    await server.set();
    return await use();
  } finally {
    await server.kill();
  }
}

test("a server of the channel that shows evidence of the HTTP API is refused", async () => {
  const workload = await coordinator.deployment.launch(WORKLOAD);
  const own = await coordinator.deployment.launch(COORDINATOR);
  let isHostile = false;
  // It has the honest one attest whatever nonce it likes, at the moment that it is asked itself.
  const relay: Attester<SnpEvidence> = {
    ...own,
    collect: async (reportData) => {
      if (!isHostile) return own.collect(reportData);
      const nonce = toHex(reportData.subarray(0, 32));
      const { body } = await coordinator.attest(nonce);
      const evidence = fromJson(AttestAnswer.parse(body).evidence);
      if (evidence.kind !== "snp") throw new Error("it is of the software TEE");
      return evidence;
    },
  };
  const { error, evidence } = await withCoordinator(HOSTILE, relay, () => {
    isHostile = true;
    return visit(HOSTILE, workload);
  });
  expect(error).toEqual(mismatch);
  expect(evidence).toBeDefined();
  // One that shows its own is not.
  const honest = await withCoordinator(HONEST, undefined, () => visit(HONEST, workload));
  expect(honest.error).toBeUndefined();
});

test("an answer of HTTP that is made of evidence of the channel is refused", async () => {
  const workload = await coordinator.deployment.launch(WORKLOAD);
  const { evidence } = await withCoordinator(HONEST, undefined, () => visit(HONEST, workload));
  if (evidence === undefined) throw new Error("it shows none");
  const nonce = drawNonce();
  const { body } = await coordinator.attest(nonce);
  await coordinator.verify(nonce, body);
  const mixed = { ...body, evidence: evidenceToJson(evidence) };
  await expect(coordinator.verify(nonce, mixed)).rejects.toEqual(mismatch);
  // Nor where the nonce, and with it the tree, is what the channel's evidence was made for.
  const reportData = evidence.kind === "snp" ? evidence.report.subarray(0x50, 0x90) : Buffer.alloc(64);
  const chosen = Buffer.from(reportData.subarray(0, 32)).toString("hex");
  const aimed = { ...mixed, nonce: chosen, path: [] };
  await expect(coordinator.verify(chosen, aimed)).rejects.toEqual(mismatch);
  expect(toWire(evidence).kind.case).toBe("snp");
});

test("a workload's evidence is real, and not the Coordinator's", async () => {
  const workload = await coordinator.deployment.launch(WORKLOAD);
  const nonce = drawNonce();
  const { body } = await coordinator.attest(nonce);
  const other = { ...body, evidence: evidenceToJson(await workload.collect(randomBytes(64))) };
  await expect(coordinator.verify(nonce, other)).rejects.toEqual(mismatch);
});

test("a proxy that swaps any part of an answer for another's, older or made up, is noticed", async () => {
  const [first, second] = [drawNonce(), drawNonce()];
  const [one, two] = await Promise.all([coordinator.attest(first), coordinator.attest(second)]);
  const before = AttestAnswer.parse(one.body);
  expect(before.path.length).toBeGreaterThan(0);
  await coordinator.set({ name: "other" });
  const nonce = drawNonce();
  const now = AttestAnswer.parse((await coordinator.attest(nonce)).body);
  await coordinator.verify(nonce, now);
  for (const part of ["evidence", "meshCa", "transition", "path"] as const) {
    await expect(coordinator.verify(nonce, { ...now, [part]: before[part] }), part).rejects.toEqual(mismatch);
  }
  // The whole of an answer of before is for the nonce of before.
  await expect(coordinator.verify(nonce, before)).rejects.toEqual(mismatch);
  await coordinator.verify(first, before);
  // The path of a neighbour, a shorter one, and one with its sides exchanged.
  const { path } = AttestAnswer.parse(two.body);
  const exchanged = before.path.map(({ side, digest }) => ({ side: side === "left" ? "right" : "left", digest }));
  for (const other of [path, before.path.slice(1), exchanged]) {
    await expect(coordinator.verify(first, { ...before, path: other })).rejects.toEqual(mismatch);
  }
});
