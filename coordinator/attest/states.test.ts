import { afterEach, expect, test } from "vitest";
import { Problem } from "../../api/http/answers.ts";
import { EndorsementError } from "../../attestation/endorsements/error.ts";
import { NO_VENDORS } from "../../attestation/endorsements/test-vendors.ts";
import { EvidenceError } from "../../attestation/error.ts";
import type { Attester } from "../../attestation/evidence.ts";
import { SharedBacking } from "../state/test-shared-store.ts";
import { type AttestChanges, drawNonce, type Reply, startAttest, type TestAttest } from "./test-attest.ts";

/** What the attestation port answers while it can't attest, and where what is in force changes meanwhile. */

const ADDRESS = "127.45.1.3";
let coordinator: TestAttest;

afterEach(() => coordinator.remove());

async function start(changes: AttestChanges = {}): Promise<void> {
  coordinator = await startAttest(ADDRESS, changes);
}

const DOCUMENT = `/v1/manifests/${"ab".repeat(32)}`;

/** Whatever says what is in force is refused with this code. */
async function expectNotReady(code: string, retryAfter: string): Promise<void> {
  const replies = [await coordinator.attest()];
  for (const path of ["/v1/history", DOCUMENT]) replies.push(await coordinator.ask(path));
  for (const { status, headers, body } of replies) {
    expect({ status, headers }).toMatchObject({ status: 503, headers: { "retry-after": retryAfter } });
    expect(Problem.parse(body)).toMatchObject({ code });
  }
  expect((await coordinator.ask("/v1/openapi.json")).status).toBe(200);
}

const stateOf = async (): Promise<unknown> => (await coordinator.ask("/v1/capabilities")).body?.["state"];

test("a Coordinator without a manifest says so, and one that lacks its secrets does", async () => {
  await start();
  await expectNotReady("no_manifest", "10");
  expect(await stateOf()).toBe("empty");
  await coordinator.set();
  expect((await coordinator.attest()).status).toBe(200);
  await coordinator.restart();
  await expectNotReady("needs_recovery", "10");
  expect(await stateOf()).toBe("recovery");
  await coordinator.recover();
  const nonce = drawNonce();
  await coordinator.verify(nonce, (await coordinator.attest(nonce)).body);
});

test("one that does not know what is in force, or knows of two histories, attests nothing", async () => {
  let time = 0;
  const sharing = { monotonic: () => time, hold: false, livePeers: () => 1 };
  await start({ shared: { store: new SharedBacking().open(), sharing } });
  await coordinator.set();
  expect((await coordinator.attest()).status).toBe(200);
  time = 60_000;
  await expectNotReady("stale_state", "1");
  expect(await stateOf()).toBe("stale");
  const { known, standing } = coordinator.guard();
  if (known === undefined) throw new Error("something is in force");
  standing?.split(known.latest, known.latest);
  await expectNotReady("history_forked", "60");
  expect(await stateOf()).toBe("forked");
});

test("where something else comes into force while the report is made, it is made anew for that", async () => {
  let sets = 0;
  const attester = (own: Attester): Attester => ({
    ...own,
    async collect(reportData) {
      const evidence = await own.collect(reportData);
      if (sets-- > 0) await coordinator.set({ name: `web-${sets}` });
      return evidence;
    },
  });
  await start({ attester });
  await coordinator.set();
  sets = 1;
  const before = coordinator.reports();
  const nonces = Array.from({ length: 5 }, drawNonce);
  const replies = await Promise.all(nonces.map((nonce) => coordinator.attest(nonce)));
  expect(coordinator.reports() - before).toBe(2);
  const { meshCa } = coordinator.guard().active().authority;
  for (const [index, { body }] of replies.entries()) {
    expect(body).toMatchObject({ meshCa });
    await coordinator.verify(nonces[index] ?? "", body);
  }
  // Where that goes on and on, the client is told to try again.
  sets = 100;
  const refused = await coordinator.attest();
  expect(refused).toMatchObject({ status: 503, headers: { "retry-after": "1" }, body: { code: "state_changed" } });
  expect(coordinator.reports() - before).toBe(5);
});

test("what stops being served while the report is made is not attested", async () => {
  let time = 0;
  const sharing = { monotonic: () => time, hold: false, livePeers: () => 1 };
  const attester = (own: Attester): Attester => ({
    ...own,
    async collect(reportData) {
      time = 60_000;
      return own.collect(reportData);
    },
  });
  await start({ attester, shared: { store: new SharedBacking().open(), sharing } });
  await coordinator.set();
  expect(await coordinator.attest()).toMatchObject({ status: 503, body: { code: "stale_state" } });
});

test("where the TEE gives no evidence, clients learn the code and the log says why, once", async () => {
  let error: Error | undefined = new EvidenceError("tee_busy", "the firmware is busy", { where: "/dev/sev-guest" });
  const attester = (own: Attester): Attester => ({
    ...own,
    collect: async (reportData) => {
      if (error !== undefined) throw error;
      return own.collect(reportData);
    },
  });
  await start({ attester });
  await coordinator.set();
  const replies: Reply[] = [];
  for (let times = 0; times < 3; times++) replies.push(await coordinator.attest());
  for (const reply of replies) {
    expect(reply).toMatchObject({ status: 503, headers: { "retry-after": "5" }, body: { code: "tee_busy" } });
    expect(reply.text).not.toContain("sev-guest");
  }
  expect(coordinator.log.filter(({ code }) => code === "tee_busy")).toHaveLength(1);
  expect(await coordinator.ask("/v1/capabilities")).toMatchObject({ status: 503, body: { code: "tee_busy" } });
  error = new Error("/etc/secret");
  const unexpected = await coordinator.attest();
  expect(unexpected).toMatchObject({ status: 500, body: { code: "internal", detail: "internal error" } });
  expect(unexpected.text).not.toContain("secret");
  error = undefined;
  expect((await coordinator.attest()).status).toBe(200);
  expect(await coordinator.metrics()).toContain('contrast_attest_reports_total{result="tee_busy"} 3');
});

test("evidence that the vendor has to complete, and does not, is not sent by halves", async () => {
  const vendors = {
    ...NO_VENDORS,
    snpCrl: () => Promise.reject(new EndorsementError("vendor_unreachable", "down", { where: "http://10.0.0.1/" })),
  };
  // As hardware: its evidence needs the vendor's list.
  const attester = (real: Attester): Attester => ({ insecure: undefined, collect: (data) => real.collect(data) });
  await start({ attester, vendors });
  await coordinator.set();
  const reply = await coordinator.attest();
  expect(reply).toMatchObject({ status: 503, headers: { "retry-after": "5" }, body: { code: "vendor_unreachable" } });
  expect(reply.text).not.toContain("10.0.0.1");
});

test("a TEE that does not answer in time keeps nobody waiting for ever, and one report is under way at most", async () => {
  let [inside, most] = [0, 0];
  let finish = (): void => undefined;
  const attester = (own: Attester): Attester => ({
    ...own,
    async collect(reportData) {
      most = Math.max(most, ++inside);
      await new Promise<void>((resolve) => (finish = resolve));
      inside -= 1;
      return own.collect(reportData);
    },
  });
  await start({ attester, limits: { evidenceMs: 300 } });
  await coordinator.set();
  const replies = await Promise.all(Array.from({ length: 10 }, () => coordinator.attest()));
  for (const reply of replies) expect(reply).toMatchObject({ status: 503, body: { code: "evidence_too_slow" } });
  const later = coordinator.attest();
  expect(await later).toMatchObject({ status: 503, body: { code: "evidence_too_slow" } });
  expect(most).toBe(1);
  finish();
});
