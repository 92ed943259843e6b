import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Evidence } from "../../attestation/evidence.ts";
import { nonceTree } from "../../attestation/nonce-tree.ts";
import { httpReportData } from "../../attestation/report-data.ts";
import { generateEcKey, spkiDigest } from "../../pki/keys.ts";
import type { Snapshot } from "../state/snapshot.ts";
import { Attestations } from "./attestations.ts";

/** When reports are made, and for whom; what is in them the tests over sockets look at. */

const keys = await generateEcKey("P-256");
const snapshot = {
  latest: { transition: "ab".repeat(32) },
  authority: { rootKey: keys, meshKey: keys },
} as unknown as Snapshot;
const key = spkiDigest(keys.publicKey);

interface Report {
  readonly reportData: string;
  readonly began: number;
  readonly ended: number;
}

/** A TEE whose reports take their time. */
function setup(ms: number) {
  const reports: Report[] = [];
  let [inside, most] = [0, 0];
  const monotonic = (): number => performance.now();
  const attestations = new Attestations({
    guard: { active: () => snapshot },
    published: {
      read: async () => ({
        snapshot,
        members: Buffer.from('"rootCa":""'),
        history: Buffer.alloc(0),
        documents: { manifests: new Map(), policies: new Map(), annexes: new Map() },
      }),
    },
    source: {
      async collect(reportData) {
        most = Math.max(most, ++inside);
        const began = monotonic();
        await delay(ms);
        inside -= 1;
        reports.push({ reportData: Buffer.from(reportData).toString("hex"), began, ended: monotonic() });
        return { kind: "snp", report: Buffer.from(reportData), certificates: [] } satisfies Evidence;
      },
      complete: async (evidence) => evidence,
    },
    monotonic,
  });
  return { attestations, reports, mostAtOnce: () => most };
}

const never = new AbortController().signal;

test("one report at a time, and after it none for as long as it took, however many ask meanwhile", async () => {
  const { attestations, reports, mostAtOnce } = setup(120);
  const asked: Promise<unknown>[] = [];
  for (let times = 0; times < 60; times++) {
    asked.push(attestations.attest(randomBytes(32), never));
    await delay(10);
  }
  await Promise.all(asked);
  expect(mostAtOnce()).toBe(1);
  expect(reports.length).toBeGreaterThan(1);
  for (const [index, { began }] of reports.entries()) {
    const before = reports[index - 1];
    // A timer may be a millisecond early by another clock.
    if (before !== undefined) expect(began - before.ended).toBeGreaterThan(before.ended - before.began - 3);
  }
});

test("a report is made for the tree over those who wait when it begins, and for nobody else", async () => {
  const { attestations, reports } = setup(100);
  const nonces = Array.from({ length: 7 }, () => randomBytes(32));
  const first = nonces.map((nonce) => attestations.attest(nonce, never));
  await delay(80);
  const late = randomBytes(32);
  const second = attestations.attest(late, never);
  await Promise.all([...first, second]);
  const expected = [nonces, [late]].map((of) => {
    const binding = { treeRoot: nonceTree(of).root, transition: Buffer.alloc(32, 0xab), rootKey: key, meshKey: key };
    return Buffer.from(httpReportData(binding)).toString("hex");
  });
  expect(reports.map(({ reportData }) => reportData)).toEqual(expected);
});

test("who has left is in no tree, and where all have left no report is made", async () => {
  const { attestations, reports } = setup(1);
  const left = new AbortController();
  const gone = [attestations.attest(randomBytes(32), left.signal), attestations.attest(randomBytes(32), left.signal)];
  left.abort(new Error("left"));
  for (const one of gone) await expect(one).rejects.toThrow("left");
  await delay(120);
  expect(reports).toEqual([]);
  await expect(attestations.attest(randomBytes(32), left.signal)).rejects.toThrow("left");
  await attestations.attest(randomBytes(32), never);
  expect(reports).toHaveLength(1);
});
