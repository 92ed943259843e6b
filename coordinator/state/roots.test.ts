import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256Hex } from "../../bytes/sha256.ts";
import { RECORD_KINDS, type RecordKind, type Store } from "../../store/store.ts";
import { makeState, manifestOf, policy, setRequest, type TestState } from "../test-deployment.ts";
import { encodeConsent } from "./consent.ts";
import { Roots } from "./roots.ts";

let state: TestState;

beforeEach(async () => {
  state = await makeState();
});

afterEach(() => state.remove());

function consent(manifest: string, previous: string): Buffer {
  const signature = { publicKey: Buffer.from("a key"), signature: Buffer.from("a signature") };
  return encodeConsent({ manifest, previous, meshKey: "0".repeat(64), size: 0, revoke: false, ...signature });
}

async function all(store: Store): Promise<Record<RecordKind, string[]>> {
  const lists = await Promise.all(RECORD_KINDS.map(async (kind) => [kind, (await store.list(kind)).sort()] as const));
  return Object.fromEntries(lists) as Record<RecordKind, string[]>;
}

test("a history names every record that its sets have made, and nothing that lies beside it", async () => {
  const guard = await state.load();
  await guard.set(setRequest());
  await guard.set(setRequest({ names: ["web", "www"] }, guard));
  const { latest } = guard.active();
  const store = state.store();
  const made = await all(store);
  for (const kind of RECORD_KINDS) await store.put(kind, consent("0".repeat(64), "0".repeat(64)));

  const roots = new Roots(store);
  const named = await roots.namedBy(latest.raw);
  for (const kind of RECORD_KINDS) expect([...named[kind]].sort(), kind).toEqual(made[kind]);
  expect(named.transitions.size).toBe(2);
  expect(named.pointers.size).toBe(2);

  // What was found once is not read again.
  store.get = () => Promise.reject(new Error("read again"));
  store.list = async () => [];
  expect((await roots.namedBy(latest.raw)).transitions).toEqual(named.transitions);
});

test("a consent to what follows the latest transition keeps its manifest and policies; an older one does not", async () => {
  const guard = await state.load();
  await guard.set(setRequest());
  const { latest } = guard.active();
  const store = state.store();
  const other = Buffer.from("another policy");
  const document = JSON.parse(manifestOf().toString()) as { Policies: object };
  document.Policies = { [sha256Hex(other)]: { SANs: ["other"] } };
  const manifest = await store.put("manifests", Buffer.from(JSON.stringify(document)));
  const put = (of: string, previous: string): Promise<string> => store.put("consents", consent(of, previous));
  const current = await put(manifest, latest.transition);
  const outdated = await put(sha256Hex(manifestOf()), "0".repeat(64));
  const broken = await store.put("consents", Buffer.from("of a later version"));
  const dangling = await put("0".repeat(64), latest.transition);

  const named = await new Roots(store).namedBy(latest.raw);
  expect(named.consents).toEqual(new Set([current, broken, dangling]));
  expect(named.consents).not.toContain(outdated);
  expect(named.manifests).toContain(manifest);
  expect(named.policies).toEqual(new Set([sha256Hex(policy), sha256Hex(other)]));
});

test("a chain that can't be read to its end names nothing: then nothing may be removed", async () => {
  const guard = await state.load();
  await guard.set(setRequest());
  await guard.set(setRequest({ names: ["web", "www"] }, guard));
  const { latest } = guard.active();
  const first = (await guard.history()).steps[0]?.transition.digest ?? "";
  const store = state.store();
  const roots = new Roots(store);
  await store.remove("transitions", first);
  for (let attempt = 0; attempt < 2; attempt++) {
    await expect(roots.namedBy(latest.raw)).rejects.toMatchObject({ code: "damaged_state" });
  }
});
