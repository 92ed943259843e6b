import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AttestAnswer, Capabilities, HistoryAnswer, Problem } from "../../api/http/answers.ts";
import { COORDINATOR, manifestFor, WORKLOAD } from "../peers/test-coordinator.ts";
import { drawNonce, startAttest, type TestAttest } from "./test-attest.ts";

/** What the attestation port answers, over real sockets; its answers are judged by the code that decides in earnest. */

const ADDRESS = "127.45.1.1";
let coordinator: TestAttest;

beforeAll(async () => {
  coordinator = await startAttest(ADDRESS);
  await coordinator.set();
});

afterAll(() => coordinator.remove());

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test("evidence is real, made for the nonce, and for what is in force", async () => {
  const nonce = drawNonce();
  const reply = await coordinator.attest(nonce);
  expect(reply).toMatchObject({
    status: 200,
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      "access-control-allow-origin": "*",
      "x-content-type-options": "nosniff",
    },
  });
  const answer = AttestAnswer.parse(reply.body);
  expect(answer.nonce).toBe(nonce);
  const { policyHash } = await coordinator.verify(nonce, answer);
  expect(policyHash).toBe(sha256(COORDINATOR));
  const { latest, manifestDigest, authority } = coordinator.guard().active();
  expect(answer).toMatchObject({ rootCa: authority.rootCa, meshCa: authority.meshCa });
  expect(sha256(Buffer.from(answer.transition, "base64"))).toBe(latest.transition);
  expect(answer.history).toEqual([{ transition: latest.transition, manifest: manifestDigest, annex: null }]);
  await expect(coordinator.verify(drawNonce(), answer)).rejects.toMatchObject({ code: "report_data_mismatch" });
});

test("nonces that come together share a report, and each has its own path", async () => {
  const before = coordinator.reports();
  const nonces = Array.from({ length: 29 }, drawNonce);

  const replies = await Promise.all(nonces.map((nonce) => coordinator.attest(nonce)));
  // How many come within one batch is up to the machine.
  expect(coordinator.reports() - before).toBeLessThan(nonces.length / 2);
  for (const [index, { status, body }] of replies.entries()) {
    expect(status).toBe(200);
    await coordinator.verify(nonces[index] ?? "", body);
    await expect(coordinator.verify(nonces[(index + 1) % 29] ?? "", body)).rejects.toThrow();
  }
});

test("the history, its documents and what the Coordinator is are had without evidence", async () => {
  const { latest, manifestDigest } = coordinator.guard().active();
  const { manifest } = manifestFor(coordinator.deployment);
  const history = HistoryAnswer.parse((await coordinator.ask("/v1/history")).body);
  expect(history.transitions.map((record) => sha256(Buffer.from(record, "base64")))).toEqual([latest.transition]);
  const found = await coordinator.ask(`/v1/manifests/${manifestDigest}`);
  expect(found.bytes).toEqual(manifest);
  expect(found.headers).toMatchObject({
    "content-type": "application/json",
    "cache-control": "public, max-age=31536000, immutable",
    etag: `"${manifestDigest}"`,
  });
  const policy = await coordinator.ask(`/v1/policies/${sha256(WORKLOAD)}`);
  expect(policy.bytes).toEqual(WORKLOAD);
  expect(policy.headers["content-type"]).toBe("application/toml");
  const capabilities = Capabilities.parse((await coordinator.ask("/v1/capabilities")).body);
  expect(capabilities).toMatchObject({ state: "active", insecure: true, tee: "snp", batchMs: 50 });
  const unknown = await coordinator.ask(`/v1/policies/${manifestDigest}`);
  expect(Problem.parse(unknown.body)).toMatchObject({ status: 404, code: "unknown_digest" });
});
