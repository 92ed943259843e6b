import { randomBytes, X509Certificate } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { generationOf } from "../../manifest/generation-extensions.ts";
import { spki, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import { EvidenceError } from "../../attestation/error.ts";
import { toHex } from "../../bytes/encode.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import { FileStore } from "../../store/file-store.ts";
import { StateGuard } from "./state-guard.ts";
import type { RecoverRequest } from "./recover.ts";
import {
  makeState,
  now,
  policy,
  recoverRequest,
  seedshareOwners,
  setRequest,
  type TestState,
} from "../test-deployment.ts";

/** On a real directory, with real keys; the Coordinator's restart is a second StateGuard on the same directory. */

const TOO_MANY_NAMES = Array.from({ length: 40 }, (_, index) => `${index}.${"x".repeat(63)}.${"y".repeat(63)}.example`);
const otherPolicy = Buffer.from("the policy of another pod");

let state: TestState;
let load: TestState["load"];

beforeEach(async () => {
  state = await makeState();
  load = state.load;
});

afterEach(() => state.remove());

/** @returns what the seed share owner recovers with */
async function firstSet(guard: StateGuard): Promise<RecoverRequest> {
  return recoverRequest((await guard.set(setRequest())).snapshot);
}

function publicKeyOf(pem: string): string {
  return toHex(spkiDigest(new X509Certificate(pem).publicKey));
}

test("without a manifest there is nothing to serve", async () => {
  const guard = await load();
  expect(guard.phase).toBe("empty");
  expect(() => guard.active()).toThrow(expect.objectContaining({ code: "no_manifest" }));
});

test("the first set makes a seed that its owner can read, and needs no owner's key", async () => {
  const guard = await load();
  const { snapshot } = await guard.set(setRequest({ callerKey: "b".repeat(64) }));
  expect(guard.phase).toBe("active");
  const [first] = seedshareOwners;
  expect(snapshot.seedShares.shares.map((share) => share.publicKey)).toEqual([first && spki(first.publicKey)]);
  expect(recoverRequest(snapshot).share.reveal()).toHaveLength(32);
});

test("every set makes a new mesh CA, and keeps root key, workload secrets and seed shares", async () => {
  const guard = await load();
  const { snapshot: before } = await guard.set(setRequest());
  const { snapshot: after } = await guard.set(setRequest({ names: ["web", "203.0.113.34"] }, guard));
  expect(publicKeyOf(after.authority.rootCa)).toBe(publicKeyOf(before.authority.rootCa));
  expect(publicKeyOf(after.authority.meshCa)).not.toBe(publicKeyOf(before.authority.meshCa));
  expect(after.seed.workloadSecret("web").reveal()).toEqual(before.seed.workloadSecret("web").reveal());
  expect(after.generation).toBe(2);
  expect(after.seedShares).toEqual(before.seedShares);
});

test("a mesh CA says which manifest it was made for, and a recovery makes another one for the same", async () => {
  const guard = await load();
  const first = (await guard.set(setRequest())).snapshot;
  const { authority, manifestDigest } = (await guard.set(setRequest({ names: ["web", "www"] }, guard))).snapshot;
  expect(manifestDigest).not.toBe(first.manifestDigest);
  const restarted = await load();
  await restarted.recover(recoverRequest(first));
  const recovered = restarted.active().authority;
  expect(publicKeyOf(recovered.meshCa)).not.toBe(publicKeyOf(authority.meshCa));
  for (const { meshCa } of [authority, recovered]) {
    expect(generationOf(new X509Certificate(meshCa).raw)).toEqual({ number: 2, manifest: manifestDigest });
  }
  expect(generationOf(new X509Certificate(first.authority.meshCa).raw)).toEqual({
    number: 1,
    manifest: first.manifestDigest,
  });
});

test("the certificate lifetime is that of the manifest in force", async () => {
  const guard = await load();
  const lifetimes = [];
  for (const certificateLifetime of ["1h", undefined, "1h30m"]) {
    const after = guard.phase === "active" ? guard : undefined;
    const { snapshot } = await guard.set(setRequest({ certificateLifetime }, after));
    lifetimes.push(snapshot.authority.certificateLifetimeMs / 3_600_000);
  }
  expect(lifetimes).toEqual([1, 8760, 1.5]);
});

test.each([
  ["the key of a connection that is no owner's", { callerKey: "b".repeat(64), signatures: [] }, "not_owner"],
  ["the key of an owner's connection alone", { signatures: [] }, "signature_missing"],
  ["another latest transition", { latestTransition: Buffer.alloc(32) }, "conflict"],
  ["a transition of the wrong length", { latestTransition: Buffer.alloc(31) }, "conflict"],
  ["a policy too few", { policies: [] }, "policy_mismatch"],
  ["a policy too many", { policies: [policy, otherPolicy] }, "policy_mismatch"],
  ["a malformed manifest", { manifest: Buffer.from("{") }, "invalid_manifest"],
  ["a certificate lifetime of a minute", { certificateLifetime: "1m" }, "invalid_manifest"],
  ["names for certificates that no proxy takes", { names: TOO_MANY_NAMES }, "certificate_too_long"],
] as const)("a set with %s is refused and changes nothing", async (_name, changes, code) => {
  const guard = await load();
  const { snapshot } = await guard.set(setRequest());
  await expect(guard.set(setRequest(changes, guard))).rejects.toMatchObject({ code });
  expect(guard.active()).toBe(snapshot);
});

test("a manifest without owners can't be replaced", async () => {
  const guard = await load();
  await guard.set(setRequest({ owners: [] }));
  for (const after of [undefined, guard]) {
    await expect(guard.set(setRequest({}, after))).rejects.toMatchObject({ code: "immutable" });
  }
});

test("a manifest that trusts a software TEE needs a Coordinator that allows it", async () => {
  const guard = await load(false);
  await expect(guard.set(setRequest())).rejects.toMatchObject({ code: "insecure_not_allowed" });
  expect(guard.phase).toBe("empty");
});

test("of two sets that expect the same latest transition, one wins", async () => {
  const guard = await load();
  const { snapshot } = await guard.set(setRequest());
  const latestTransition = Buffer.from(snapshot.latest.transition, "hex");
  const results = await Promise.allSettled([1, 2, 3].map(() => guard.set(setRequest({ latestTransition }, guard))));
  expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected", "rejected"]);
});

test("a set whose caller left before its turn is not done", async () => {
  const guard = await load();
  const first = guard.set(setRequest());
  const leaving = new AbortController();
  const second = guard.set(setRequest({ names: ["www"] }), leaving.signal);
  leaving.abort(new Error("gone"));
  await expect(second).rejects.toThrow("gone");
  expect(guard.active().generation).toBe((await first).snapshot.generation);
});

test("a restarted Coordinator serves nothing until it has the seed", async () => {
  const recovery = await firstSet(await load());
  const guard = await load();
  expect(guard.phase).toBe("recovery");
  expect(() => guard.active()).toThrow(expect.objectContaining({ code: "needs_recovery" }));
  await expect(guard.set(setRequest())).rejects.toMatchObject({ code: "needs_recovery" });
  await guard.recover(recovery);
  expect(guard.phase).toBe("active");
});

test("recovery brings back root key, secrets, shares and manifest, and makes a new mesh CA", async () => {
  const first = await load();
  const recovery = await firstSet(first);
  const before = first.active();
  const { missingShares, recovered } = await (await load()).recover(recovery);
  if (recovered === undefined) throw new Error("not recovered");
  const after = recovered.snapshot;
  expect(missingShares).toBe(0);
  expect(publicKeyOf(after.authority.rootCa)).toBe(publicKeyOf(before.authority.rootCa));
  expect(publicKeyOf(after.authority.meshCa)).not.toBe(publicKeyOf(before.authority.meshCa));
  expect(after.seed.workloadSecret("web").reveal()).toEqual(before.seed.workloadSecret("web").reveal());
  expect(after.seedShares).toEqual(before.seedShares);
  expect(after.manifestDigest).toBe(before.manifestDigest);
  expect(recovered.manifest).toEqual(setRequest().manifest);
  expect(after.generation).toBe(1);
});

test.each<[string, (request: RecoverRequest) => Partial<RecoverRequest>]>([
  ["another seed", () => ({ share: new Secret(randomBytes(32)) })],
  ["another salt", () => ({ salt: randomBytes(32) })],
  ["a short salt", ({ salt }) => ({ salt: salt.subarray(1) })],
  ["a short seed", ({ share }) => ({ share: new Secret(share.reveal().subarray(1)) })],
  ["a seed with more behind it", ({ share }) => ({ share: new Secret(Buffer.concat([share.reveal(), Buffer.of(0)])) })],
])("recovery with %s is refused without side effects", async (_name, change) => {
  const recovery = await firstSet(await load());
  const guard = await load();
  await expect(guard.recover({ ...recovery, ...change(recovery) })).rejects.toMatchObject({ code: "wrong_seed" });
  expect(guard.phase).toBe("recovery");
  await guard.recover(recovery);
});

test("an active Coordinator recovers only when forced", async () => {
  const guard = await load();
  const recovery = await firstSet(guard);
  await expect(guard.recover(recovery)).rejects.toMatchObject({ code: "not_in_recovery" });
  const { recovered } = await guard.recover({ ...recovery, force: true });
  expect(guard.active()).toBe(recovered?.snapshot);
  const wrong = { ...recovery, share: new Secret(randomBytes(32)), force: true };
  await expect(guard.recover(wrong)).rejects.toMatchObject({ code: "wrong_seed" });
  expect(guard.active()).toBe(recovered?.snapshot);
});

test("the history holds every manifest, oldest first, and the policies they list", async () => {
  const guard = await load();
  await guard.set(setRequest());
  await guard.set(setRequest({ names: ["web", "www"] }, guard));
  const { steps, policies } = await guard.history();
  expect(steps.map(({ manifest }) => manifest)).toEqual([
    setRequest().manifest,
    setRequest({ names: ["web", "www"] }).manifest,
  ]);
  expect(policies).toEqual([policy]);
});

test("no secret is in any file of the state", async () => {
  const guard = await load();
  const seed = (await firstSet(guard)).share.reveal();
  const secret = guard.active().seed.workloadSecret("web").reveal();
  const files = (await readdir(state.directory, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  );
  expect(files).toHaveLength(7);
  for (const file of files) {
    const bytes = await readFile(join(file.parentPath, file.name));
    for (const needle of [seed, secret]) {
      expect(bytes.includes(needle) || bytes.includes(needle.toString("hex"))).toBe(false);
    }
  }
});

test("by a clock that can't be right nothing is set and nothing is recovered, and both can be tried again", async () => {
  const store = await FileStore.open(state.directory, { pid: process.pid, host: "test", since: now() });
  let isRight = false;
  const clock = (manifest: Manifest): Date => {
    if (isRight) return now();
    throw new EvidenceError("clock_before_manifest", "too early", { got: String(manifest.notBefore) });
  };
  const options = { store, allowInsecure: true, now: clock, random: randomBytes };
  const tooEarly = expect.objectContaining({ code: "clock_before_manifest" }) as unknown;
  const guard = await StateGuard.load(options);
  await expect(guard.set(setRequest())).rejects.toEqual(tooEarly);
  expect(guard.phase).toBe("empty");
  isRight = true;
  const recovery = await firstSet(guard);

  const restarted = await StateGuard.load(options);
  isRight = false;
  await expect(restarted.recover(recovery)).rejects.toEqual(tooEarly);
  expect(restarted.phase).toBe("recovery");
  isRight = true;
  await restarted.recover(recovery);
  expect(restarted.phase).toBe("active");
  isRight = false;
  const { generation } = restarted.active();
  await expect(restarted.set(setRequest({}, restarted))).rejects.toEqual(tooEarly);
  expect(restarted.active().generation).toBe(generation);
  store.close();
});
