import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { parseManifest } from "../../manifest/manifest.ts";
import { generateEcKey } from "../../pki/keys.ts";
import { makeState, manifestOf, owner, recoverRequest, setRequest, type TestState } from "../test-deployment.ts";
import { type Authority, createAuthority, issueChain } from "./authority.ts";
import { overlap, type PreviousMesh, previousMeshOf, SETTLE_MS, settleMs, trustedAt } from "./overlap.ts";
import { isAcceptedByOpenssl } from "./test-openssl.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = new Date("2026-06-01T12:00:00Z");
const later = (ms: number): Date => new Date(START.getTime() + ms);
const WINDOW = { meshCaOverlap: "1h", certificateLifetime: "24h" };
const manifest = parseManifest(manifestOf(WINDOW));

const directory = mkdtempSync(join(tmpdir(), "overlap-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

const rootKey = await generateEcKey("P-384");
const { publicKey } = await generateEcKey("P-256");
const leaf = { publicKey, names: [{ kind: "dns", value: "web" }], extensions: new Map() } as const;

async function authority(number: number, at: Date): Promise<Authority> {
  const generation = { number, manifest: `${number}`.repeat(64) };
  const meshKey = await generateEcKey("P-256");
  return createAuthority({ rootKey, meshKey, generation, certificateLifetimeMs: 24 * HOUR }, at);
}

const isAccepted = (chain: string, cas: string, at: Date): boolean => isAcceptedByOpenssl(directory, chain, cas, at);

interface Before {
  readonly manifest: typeof manifest;
  readonly authority: Authority;
  readonly previousMeshes: readonly PreviousMesh[];
}

test("openssl accepts a chain of before beside the mesh CA of now until the window is over, and not a second longer", async () => {
  const [first, second] = [await authority(1, START), await authority(2, later(HOUR))];
  const old = issueChain(first, leaf, START);
  const { previousMeshes } = overlap({ manifest, authority: first, previousMeshes: [] }, manifest, false, later(HOUR));
  const file = second.meshCa + previousMeshes.map(({ ca }) => ca).join("");
  const inWindow = later(2 * HOUR - 1000);
  const over = later(2 * HOUR + 1000);
  expect(isAccepted(old, file, inWindow)).toBe(true);
  expect(isAccepted(issueChain(second, leaf, later(HOUR)), file, inWindow)).toBe(true);
  expect(isAccepted(old, file, over)).toBe(false);
  expect(isAccepted(issueChain(second, leaf, later(HOUR)), file, over)).toBe(true);
  // Without a window it is refused at once; it would have lived for a day.
  expect(isAccepted(old, second.meshCa, later(HOUR))).toBe(false);
  expect(isAccepted(old, first.meshCa, over)).toBe(true);
  expect(previousMeshOf(previousMeshes[0]?.ca ?? "")).toEqual(previousMeshes[0]);
});

test("two sets within one window: each mesh CA of before has its own end, and it comes no later for the second set", async () => {
  const steps: Before[] = [{ manifest, authority: await authority(1, START), previousMeshes: [] }];
  for (const minutes of [0, 20, 70]) {
    const before = steps.at(-1);
    const at = later(minutes * MINUTE);
    const { previousMeshes } = overlap(before, manifest, false, at);
    steps.push({ manifest, authority: await authority(steps.length + 1, at), previousMeshes });
  }
  const ends = steps.map(({ previousMeshes }) =>
    previousMeshes.map(({ until }) => (until.getTime() - START.getTime()) / MINUTE),
  );
  expect(ends).toEqual([[], [60], [80, 60], [130, 80]]);
});

test("a shorter window ends what would have been trusted for longer, and none ends all", async () => {
  const before = {
    manifest,
    authority: await authority(2, START),
    previousMeshes: [previousMesh(50), previousMesh(8)],
  };
  const shorter = parseManifest(manifestOf({ ...WINDOW, meshCaOverlap: "10m" }));
  expect(overlap(before, shorter, false, START).previousMeshes.map(({ until }) => until)).toEqual([
    later(10 * MINUTE),
    later(8 * MINUTE),
  ]);
  expect(overlap(before, parseManifest(manifestOf({})), false, START)).toEqual({
    previousMeshes: [],
    refused: undefined,
  });
});

test("at most three stay trusted", async () => {
  const before = { manifest, authority: await authority(5, START), previousMeshes: [50, 40, 30].map(previousMesh) };
  expect(overlap(before, manifest, false, START).previousMeshes).toHaveLength(3);
});

function previousMesh(minutes: number): PreviousMesh {
  return { ca: "", until: later(minutes * MINUTE) };
}

test("a new mesh CA settles for half a minute, only while another is trusted; a clock that was set back doesn't prolong that", () => {
  const snapshot = { previousMeshes: [previousMesh(60)], began: START };
  expect(settleMs(snapshot, START)).toBe(SETTLE_MS);
  expect(settleMs(snapshot, later(10_000))).toBe(SETTLE_MS - 10_000);
  expect(settleMs(snapshot, later(HOUR))).toBe(0);
  expect(settleMs(snapshot, later(-HOUR))).toBe(SETTLE_MS);
  expect(settleMs({ ...snapshot, previousMeshes: [] }, START)).toBe(0);
  expect(trustedAt(snapshot.previousMeshes, later(HOUR))).toEqual([]);
});

let state: TestState;
beforeEach(async () => {
  state = await makeState();
});
afterEach(async () => state.remove());

test("a set opens the window that its manifest names, and a recovery closes it: nothing stored says what was trusted", async () => {
  const guard = await state.load();
  expect((await guard.set(setRequest(WINDOW))).snapshot.previousMeshes).toEqual([]);
  const { snapshot: second } = await guard.set(setRequest({ ...WINDOW, names: ["web", "www"] }, guard));
  const [previous, ...others] = second.previousMeshes;
  expect(others).toEqual([]);
  expect(previous?.until).toEqual(new Date("2026-06-01T01:00:00Z"));
  expect(new X509Certificate(previous?.ca ?? "").publicKey.equals(second.authority.meshKey.publicKey)).toBe(false);
  const restarted = await state.load();
  await restarted.recover(recoverRequest(second));
  expect(restarted.active().previousMeshes).toEqual([]);
});

test.each([
  ["a set that revokes", { revoke: true }, "revokes"],
  ["a set that takes a name", { names: ["www"] }, "takes the name web"],
  ["a set that removes an owner", { owners: ["1".repeat(64)] }, "removes a workload owner"],
  ["a set whose manifest has no window", { meshCaOverlap: undefined }, undefined],
])("%s closes all windows, also the one before", async (_, changes, why) => {
  const guard = await state.load();
  await guard.set(setRequest({ ...WINDOW, owners: [owner] }));
  await guard.set(setRequest(WINDOW, guard));
  expect(guard.active().previousMeshes).toHaveLength(1);
  const { snapshot, overlapRefused } = await guard.set(setRequest({ ...WINDOW, ...changes }, guard));
  expect(snapshot.previousMeshes).toEqual([]);
  if (why === undefined) expect(overlapRefused).toBeUndefined();
  else expect(overlapRefused).toContain(why);
});
