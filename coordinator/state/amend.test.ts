import { randomBytes } from "node:crypto";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex, toLatin1, toUtf8 } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { type Annex, encodeAnnex, LARGEST_ANNEX, LARGEST_SECRET } from "../../manifest/annex.ts";
import { policyReader, workloadReader } from "../../manifest/annex-names.ts";
import { annexOf as annexWith, digest, secret, type version } from "../../manifest/test-annex.ts";
import { parseTransition } from "../../manifest/transition.ts";
import { generateEcKey, spkiDigest } from "../../pki/keys.ts";
import { encodeRecord } from "../../store/record.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  owner,
  ownerKeys,
  recoverRequest,
  setRequest,
  signedBy,
  type TestState,
} from "../test-deployment.ts";
import { annexOf } from "./annex-in-force.ts";
import { Roots } from "./roots.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateGuard } from "./state-guard.ts";
import { amend, amendmentAfter, amendRequest, READERS, sealed, served, withGrant, withSecret } from "./test-amend.ts";

/** Secrets and leaves to format, on a real store: what owners can do with them, and what a host can't. */

const second = await generateEcKey("P-384");
const stranger = await generateEcKey("P-256");
const secondOwner = toHex(spkiDigest(second.publicKey));

let state: TestState;
let guard: StateGuard;

beforeEach(async () => {
  state = await makeState();
  guard = await state.load();
  await guard.set(setRequest());
});

afterEach(() => state.remove());

const secretFiles = (): string[] => readdirSync(join(state.directory, "secrets"));

/** What every certificate of a mesh hangs on. */
const meshOf = ({ authority, previousMeshes, began, generation, manifest, seed, seedShares }: Snapshot) => {
  return [authority, previousMeshes, began, generation, manifest, seed, seedShares];
};

test("an amendment puts an annex in force, and the mesh stays the very same", async () => {
  const before = guard.active();
  const { snapshot, record, owners } = await amend(guard, await withSecret(guard, "db", "hunter2"), [ownerKeys]);
  expect(guard.active()).toBe(snapshot);
  expect(owners).toEqual([owner]);
  for (const [index, part] of meshOf(snapshot).entries()) expect(part).toBe(meshOf(before)[index]);
  expect(snapshot.latest.meshKey).toBe(before.latest.meshKey);
  expect(snapshot.latest.sequence).toBe(before.latest.sequence + 1);
  expect(parseTransition(record)).toMatchObject({ version: 4, annex: snapshot.annex?.digest });
  expect(await served(guard)).toEqual({ "db@1": "hunter2" });
  // A set after it keeps the annex, and makes a mesh CA of its own.
  const next = await guard.set(setRequest({ names: ["web", "www"] }, guard));
  expect(parseTransition(next.record)).toMatchObject({ version: 4, annex: snapshot.annex?.digest });
  expect(next.snapshot.generation).toBe(2);
  expect(next.snapshot.authority).not.toBe(before.authority);
  expect(await served(guard)).toEqual({ "db@1": "hunter2" });
});

test("a history without amendments is written as it always was", async () => {
  await guard.set(setRequest({ names: ["www"] }, guard));
  const { steps } = await guard.history();
  expect(steps.map(({ transition }) => transition.version)).toEqual([2, 2]);
  expect(steps.every(({ annex }) => annex === undefined)).toBe(true);
  for (const kind of ["annexes", "secrets"]) expect(readdirSync(join(state.directory, kind))).toEqual([]);
});

test("the version before stays readable during a rollout, others do not, and a removed secret is gone", async () => {
  for (const value of ["one", "two", "three"]) await amend(guard, await withSecret(guard, "db", value), [ownerKeys]);
  expect(await served(guard)).toEqual({ "db@3": "three", "db@2": "two" });
  const before = annexOf(guard.active());
  await amend(guard, { ...before, secrets: new Map([["db", { latestVersion: 3, versions: [] }]]) }, [ownerKeys]);
  expect(await served(guard)).toEqual({});
  expect((await withSecret(guard, "db")).secrets.get("db")?.latestVersion).toBe(4);
});

test("a secret is for the readers that it names, by policy and by workload", async () => {
  const policy = policyReader("ab".repeat(32));
  const one = await sealed(guard, "one", 1, "for one", [policy]);
  const both = await sealed(guard, "both", 1, "for both", [policy, workloadReader("web")]);
  await amend(guard, annexWith({ one: secret(1, one), both: secret(1, both) }), [ownerKeys]);
  expect(await served(guard, [policy])).toEqual({ "one@1": "for one", "both@1": "for both" });
  expect(await served(guard, [workloadReader("web")])).toEqual({ "both@1": "for both" });
  for (const other of ["workload:we", "workload:WEB", "policy:web", policyReader("cd".repeat(32)), ""]) {
    expect(await served(guard, [other])).toEqual({});
  }
});

/** After any change, recovery has it all. */
test("after a restart the recovered Coordinator serves the same, and counts manifests alone", async () => {
  await amend(guard, await withSecret(guard, "db", "hunter2"), [ownerKeys]);
  await amend(guard, withGrant(guard, "web", "data", 2), [ownerKeys]);
  const { snapshot } = await guard.useFormatGrant(() => ({ workload: "web", volume: "data" }));
  guard = await state.load();
  const { recovered } = await guard.recover(recoverRequest(snapshot));
  expect(recovered?.snapshot).toMatchObject({ generation: 1, annex: snapshot.annex, unsigned: snapshot.unsigned });
  expect(snapshot.unsigned).toHaveLength(1);
  expect(await served(guard)).toEqual({ "db@1": "hunter2" });
  expect(annexOf(guard.active()).volumes.get("web")?.get("data")).toEqual({ allowed: 2, used: 1 });
});

const mutated = (
  annex: Annex,
  name: string,
  change: (one: ReturnType<typeof version>) => ReturnType<typeof version>,
) => {
  const { latestVersion = 0, versions = [] } = annex.secrets.get(name) ?? {};
  const [latest, ...rest] = versions;
  if (latest === undefined) throw new Error("no version");
  return {
    ...annex,
    secrets: new Map([...annex.secrets, [name, { latestVersion, versions: [change(latest), ...rest] }]]),
  };
};

test("nobody but enough owners amends, for this place and this mesh CA", async () => {
  const annex = await withSecret(guard, "db");
  const bytes = encodeAnnex(annex);
  const good = amendRequest(guard, annex, [ownerKeys]);
  const change = amendmentAfter(guard, bytes);
  const zero = Buffer.alloc(32);
  const setOf = changeAfter(guard.active(), manifestOf());
  const cases: [string, Partial<typeof good>][] = [
    ["signature_missing", { signatures: [] }],
    ["not_owner", { signatures: [signedBy(stranger, change)] }],
    ["not_owner", { signatures: [signedBy(ownerKeys, change), signedBy(stranger, change)] }],
    ["bad_signature", { signatures: [signedBy(ownerKeys, { ...change, annex: zero })] }],
    ["bad_signature", { signatures: [signedBy(ownerKeys, { ...change, previous: zero })] }],
    ["bad_signature", { signatures: [signedBy(ownerKeys, { ...change, meshKey: zero })] }],
    ["bad_signature", { signatures: [signedBy(ownerKeys, { ...change, manifestDigest: zero })] }],
    // A signature over a set of the very manifest in force.
    ["bad_signature", { signatures: [signedBy(ownerKeys, setOf)] }],
    ["bad_signature", { signatures: [signedBy(ownerKeys, { ...setOf, newRootKey: change.annex })] }],
    ["signature_outdated", { signatures: [signedBy(ownerKeys, { ...change, meshKey: zero })], signedMeshKey: zero }],
    ["conflict", { latestTransition: zero }],
  ];
  for (const [code, changes] of cases) {
    await expect(guard.amend({ ...good, ...changes }, false), code).rejects.toMatchObject({ code });
    await expect(guard.amend({ ...good, ...changes }, true), code).rejects.toMatchObject({ code });
  }
  // And the reverse: what was signed as an amendment sets nothing.
  const set = setRequest({ manifest: manifestOf(), signatures: [signedBy(ownerKeys, change)] }, guard);
  await expect(guard.set(set)).rejects.toMatchObject({ code: "bad_signature" });
  expect(guard.active().annex).toBeUndefined();
  await guard.amend(good, false);
  // It was for that place in the history alone.
  await expect(guard.amend({ ...good, latestTransition: undefined }, false)).rejects.toMatchObject({
    code: "bad_signature",
  });
});

test("an owner whom a manifest removed amends no more, and one who was added does", async () => {
  await guard.set(setRequest({ owners: [secondOwner] }, guard));
  const annex = await withSecret(guard, "db");
  await expect(amend(guard, annex, [ownerKeys])).rejects.toMatchObject({ code: "not_owner" });
  await amend(guard, annex, [second]);
  await guard.set(
    setRequest(
      { owners: [], signatures: [signedBy(second, changeAfter(guard.active(), manifestOf({ owners: [] })))] },
      guard,
    ),
  );
  await expect(amend(guard, await withSecret(guard, "db"), [second])).rejects.toMatchObject({ code: "immutable" });
});

test("what an amendment may not do is refused, whoever signed it", async () => {
  await amend(guard, await withSecret(guard, "db"), [ownerKeys]);
  await amend(guard, withGrant(guard, "web", "data"), [ownerKeys]);
  const before = annexOf(guard.active());
  const cases: (Annex | Buffer)[] = [
    before,
    { ...before, secrets: new Map() },
    { ...before, volumes: new Map() },
    { ...before, volumes: new Map([["web", new Map([["data", { allowed: 1, used: 1 }]])]]) },
    mutated(before, "db", (one) => ({ ...one, readers: [workloadReader("eve")] })),
    Buffer.from("{}"),
    Buffer.from(`${toUtf8(encodeAnnex(withGrant(guard, "web", "data")))}\n`),
    Buffer.alloc(LARGEST_ANNEX + 1, " "),
    annexWith(Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`s${index}`, secret(1)]))),
  ];
  for (const annex of cases) {
    await expect(guard.amend(amendRequest(guard, annex, [ownerKeys]), false)).rejects.toMatchObject({
      code: "invalid_annex",
    });
  }
  expect(annexOf(guard.active())).toEqual(before);
});

test("an annex names only what was sealed for that very name, version and set of readers", async () => {
  const good = await withSecret(guard, "db");
  const cases: Annex[] = [
    mutated(good, "db", (one) => ({ ...one, sealed: digest(1) })),
    mutated(good, "db", (one) => ({ ...one, readers: [workloadReader("eve")] })),
    mutated(good, "db", (one) => ({ ...one, readers: [...one.readers, workloadReader("zoe")] })),
    { ...good, secrets: new Map([["other", good.secrets.get("db") ?? secret(1)]]) },
  ];
  for (const annex of cases) {
    await expect(amend(guard, annex, [ownerKeys])).rejects.toMatchObject({ code: "not_sealed" });
  }
  await amend(guard, good, [ownerKeys]);
  const second = await sealed(guard, "db", 3);
  const wrong = annexWith({ db: secret(2, { ...second, version: 2 }) });
  await expect(amend(guard, wrong, [ownerKeys])).rejects.toMatchObject({ code: "not_sealed" });
});

test("a missing or damaged ciphertext is refused by name when it is served, and mends by a new version", async () => {
  await amend(guard, await withSecret(guard, "db"), [ownerKeys]);
  await amend(guard, await withSecret(guard, "api", "key"), [ownerKeys]);
  const db = annexOf(guard.active()).secrets.get("db")?.versions[0]?.sealed ?? "";
  const file = join(state.directory, "secrets", db);
  // Another's, under its name; nothing; and none.
  const other = annexOf(guard.active()).secrets.get("api")?.versions[0]?.sealed ?? "";
  const foreign = await state.store().get("secrets", other);
  for (const damage of [
    () => writeFileSync(file, encodeRecord("secrets", foreign)),
    () => writeFileSync(file, ""),
    () => rmSync(file),
  ]) {
    damage();
    await expect(served(guard)).rejects.toMatchObject({
      code: "damaged_state",
      where: expect.stringContaining("version 1 of the secret db"),
    });
  }
  const before = annexOf(guard.active());
  const next = await sealed(guard, "db", 2, "new");
  await amend(guard, { ...before, secrets: new Map([...before.secrets, ["db", secret(2, next)]]) }, [ownerKeys]);
  expect(await served(guard)).toEqual({ "api@1": "key", "db@2": "new" });
});

test("values have 1 byte to 64 KiB, and all together 1 MiB", async () => {
  const large = "x".repeat(LARGEST_SECRET);
  for (let index = 0; index < 16; index++) {
    await amend(guard, await withSecret(guard, `s${index}`, large), [ownerKeys]);
  }
  expect(Object.keys(await served(guard))).toHaveLength(16);
  const more = await withSecret(guard, "more", "x");
  await expect(amend(guard, more, [ownerKeys])).rejects.toMatchObject({ code: "invalid_annex", where: "$.Secrets" });
  // In place of the version before, it fits.
  const before = annexOf(guard.active());
  const next = await sealed(guard, "s0", 2, "x");
  await amend(guard, { ...before, secrets: new Map([...before.secrets, ["s0", secret(2, next)]]) }, [ownerKeys]);
});

test("one owner fills no store, and keeps no other out: so many ciphertexts wait for an annex, and no more", async () => {
  for (let version = 1; version <= 64; version++) await sealed(guard, "db", version);
  await expect(sealed(guard, "db", 1)).rejects.toMatchObject({ code: "too_many_pending" });
  const others = await sealed(guard, "api", 1, "key", READERS, "another owner");
  // What is named waits no more, however often it is replaced.
  await amend(guard, annexWith({ api: secret(1, others) }), [ownerKeys]);
  for (let number = 2; number < 70; number++) {
    const next = await sealed(guard, "api", number, "key", READERS, "another owner");
    await amend(guard, annexWith({ api: secret(number, next) }), [ownerKeys]);
  }
  await expect(sealed(guard, "db", 1)).rejects.toMatchObject({ code: "too_many_pending" });
});

test("ciphertexts of before go, and those that an owner is about to name stay", async () => {
  for (const value of ["one", "two", "three"]) await amend(guard, await withSecret(guard, "db", value), [ownerKeys]);
  const roots = new Roots(state.store());
  const unnamed = await sealed(guard, "api", 1);
  expect(await guard.removeSecrets(roots)).toBe(1);
  expect(secretFiles()).toContain(unnamed.sealed);
  const { snapshot } = await guard.set(setRequest({}, guard));
  guard = await state.load();
  await guard.recover(recoverRequest(snapshot));
  const waiting = await sealed(guard, "api", 1);
  // After a restart nobody remembers what was about to be named.
  expect(await guard.removeSecrets(new Roots(state.store()))).toBe(1);
  expect(secretFiles()).toHaveLength(3);
  expect(secretFiles()).toContain(waiting.sealed);
  expect(await served(guard)).toEqual({ "db@3": "three", "db@2": "two" });
});

test("who asks for a leave is judged by what is in force when it would be used", async () => {
  await amend(guard, withGrant(guard, "web", "data"), [ownerKeys]);
  const judged: string[] = [];
  const set = guard.set(setRequest({ names: ["www"] }, guard));
  // The set is not done yet. A policy that it takes away has no leave any more.
  const use = guard.useFormatGrant(({ manifestDigest }) => {
    judged.push(manifestDigest);
    throw new Error("the policy is gone");
  });
  await expect(use).rejects.toThrow("the policy is gone");
  expect(judged).toEqual([(await set).snapshot.manifestDigest]);
  expect(annexOf(guard.active()).volumes.get("web")?.get("data")).toEqual({ allowed: 1, used: 0 });
});

test("a leave is used once, by the workload and for the volume that it names", async () => {
  await expect(guard.useFormatGrant(() => ({ workload: "web", volume: "data" }))).rejects.toMatchObject({
    code: "no_format_grant",
  });
  await amend(guard, withGrant(guard, "web", "data"), [ownerKeys]);
  const before = guard.active();
  for (const request of [
    { workload: "web", volume: "other" },
    { workload: "we", volume: "data" },
    { workload: "", volume: "data" },
    { workload: undefined, volume: "data" },
    { workload: "__proto__", volume: "constructor" },
  ]) {
    await expect(guard.useFormatGrant(() => request)).rejects.toMatchObject({ code: "no_format_grant" });
  }
  expect(guard.active()).toBe(before);
  const uses = [1, 2, 3].map(() => guard.useFormatGrant(() => ({ workload: "web", volume: "data" })));
  const outcomes = await Promise.allSettled(uses);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
  expect(guard.active()).toMatchObject({ generation: 1, authority: before.authority });
  const { steps } = await guard.history();
  expect(steps.at(-1)?.transition).toMatchObject({ version: 4, signatures: [] });
  // And it is used for good, also after more are allowed.
  await amend(guard, withGrant(guard, "web", "data"), [ownerKeys]);
  expect(annexOf(guard.active()).volumes.get("web")?.get("data")).toEqual({ allowed: 2, used: 1 });
});

test("where the pointer can't be moved, no leave is given and none is used", async () => {
  await amend(guard, withGrant(guard, "web", "data"), [ownerKeys]);
  const before = guard.active();
  const store = state.store();
  const move = store.compareAndSwapLatest.bind(store);
  store.compareAndSwapLatest = () => Promise.reject(new Error("the power is off"));
  await expect(guard.useFormatGrant(() => ({ workload: "web", volume: "data" }))).rejects.toThrow("the power is off");
  expect(guard.active()).toBe(before);
  store.compareAndSwapLatest = move;
  await guard.useFormatGrant(() => ({ workload: "web", volume: "data" }));
});

test("a crash between the record and the answer uses the leave: nobody is told so twice", async () => {
  await amend(guard, withGrant(guard, "web", "data"), [ownerKeys]);
  const known = guard.active();
  const store = state.store();
  const move = store.compareAndSwapLatest.bind(store);
  store.compareAndSwapLatest = async (expected, next) => {
    await move(expected, next);
    throw new Error("the power is off");
  };
  await expect(guard.useFormatGrant(() => ({ workload: "web", volume: "data" }))).rejects.toThrow("the power is off");
  guard = await state.load();
  await guard.recover(recoverRequest(known));
  await expect(guard.useFormatGrant(() => ({ workload: "web", volume: "data" }))).rejects.toMatchObject({
    code: "no_format_grant",
    got: "1 allowed, 1 used",
  });
});

test("no value is in the history, in an error, or in any file of the state but sealed", async () => {
  const value = randomBytes(24).toString("hex");
  await amend(guard, await withSecret(guard, "db", value), [ownerKeys]);
  const errors: unknown[] = [];
  const wrong = annexWith({ db: secret(2, await sealed(guard, "db", 3, value)) });
  await amend(guard, wrong, [ownerKeys]).catch((error: unknown) => errors.push(error));
  rmSync(join(state.directory, "secrets"), { recursive: true });
  await served(await recovered()).catch((error: unknown) => errors.push(error));
  expect(errors).toHaveLength(2);
  for (const error of errors) expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(value);
  const { steps } = await guard.history();
  const forms = [value, Buffer.from(value).toString("base64"), sha256Hex(Buffer.from(value))];
  for (const { annex, transition } of steps) {
    for (const form of forms) {
      expect(toUtf8(annex ?? new Uint8Array())).not.toContain(form);
      expect(toLatin1(transition.record)).not.toContain(form);
    }
  }
});

async function recovered(): Promise<StateGuard> {
  const known = guard.active();
  guard = await state.load();
  await guard.recover(recoverRequest(known));
  return guard;
}

test("a host that puts back an earlier pointer shows earlier secrets, and an owner's pin refuses it", async () => {
  await amend(guard, await withSecret(guard, "db", "one"), [ownerKeys]);
  const earlier = guard.active();
  const pointer = await state.store().latest();
  await amend(guard, await withSecret(guard, "db", "two"), [ownerKeys]);
  const later = guard.active();
  const rollBack = async (): Promise<void> => {
    guard = await state.load();
    const store = state.store();
    await store.compareAndSwapLatest(await store.latest(), pointer ?? Buffer.alloc(0));
    guard = await state.load();
  };
  await rollBack();
  // Who has pinned the amendment sees that it is gone. Who has not, can't: docs/threat-model.md.
  await expect(guard.recover(recoverRequest(later))).rejects.toMatchObject({ code: "pin_mismatch" });
  await guard.recover(recoverRequest(earlier));
  expect(await served(guard)).toEqual({ "db@1": "one" });
  expect(READERS).toEqual(["workload:web"]);
});
