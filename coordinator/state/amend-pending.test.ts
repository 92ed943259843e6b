import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { type Annex, encodeAnnex } from "../../manifest/annex.ts";
import { type KeyPair, spkiDigest } from "../../pki/keys.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  recoverRequest,
  setRequest,
  signedBy,
  type TestState,
} from "../test-deployment.ts";
import { annexOf, secretsOf } from "./annex-in-force.ts";
import { encodeConsent, parseConsent } from "./consent.ts";
import { PENDING_LIMITS } from "./pending.ts";
import { PendingChanges } from "./pending-changes.ts";
import { Roots } from "./roots.ts";
import type { StateGuard } from "./state-guard.ts";
import { amendmentAfter, amendRequest, served, withGrant, withSecret } from "./test-amend.ts";
import { HostileStore } from "./test-hostile-host.ts";

/** Amendments that wait for more owners: two of three have to sign. */

const [ada, ben, eve, stranger] = ["P-256", "P-384", "P-521", "P-256"].map((namedCurve): KeyPair =>
  generateKeyPairSync("ec", { namedCurve }),
) as [KeyPair, KeyPair, KeyPair, KeyPair];
const keyOf = ({ publicKey }: KeyPair): string => toHex(spkiDigest(publicKey));
const owners = [ada, ben, eve].map(keyOf);
const quorum = (names: readonly string[]): Buffer => manifestOf({ owners, ownerThreshold: 2, names });

let state: TestState;
let guard: StateGuard;
let pending: PendingChanges;
let annex: Annex;
let subject: string;

beforeEach(async () => {
  state = await makeState();
  guard = await state.load();
  await guard.set(setRequest({ manifest: quorum(["web"]) }));
  pending = new PendingChanges(guard, state.store(), { requireRoomFor: async () => undefined });
  annex = await withSecret(guard, "db", "hunter2");
  subject = sha256Hex(encodeAnnex(annex));
});

afterEach(() => state.remove());

const propose = (signers: readonly KeyPair[], of = annex) => guard.amend(amendRequest(guard, of, signers), true);

function sign(pair: KeyPair, of = annex) {
  const bytes = encodeAnnex(of);
  const change = amendmentAfter(guard, bytes);
  return pending.sign({
    subject: sha256Hex(bytes),
    latestTransition: undefined,
    callerKey: keyOf(pair),
    signature: signedBy(pair, change),
    signedMeshKey: change.meshKey,
    revoke: false,
  });
}

test("one owner waits, the second puts it in force, with the signatures of both", async () => {
  expect(await propose([ada])).toMatchObject({ pending: { subject, owners: [keyOf(ada)], missing: 1 } });
  expect(guard.active().annex).toBeUndefined();
  const [waiting] = await pending.list(keyOf(ben));
  expect(waiting).toMatchObject({ subject, manifest: guard.active().manifestDigest, missing: 1 });
  expect(waiting?.annex).toEqual(Buffer.from(encodeAnnex(annex)));
  expect(await sign(ben)).toMatchObject({ owners: [keyOf(ben), keyOf(ada)] });
  expect(await served(guard)).toEqual({ "db@1": "hunter2" });
  const { steps } = await guard.history();
  expect(steps.at(-1)?.transition.signatures).toHaveLength(2);
  expect(await pending.list(keyOf(ben))).toEqual([]);
});

test("an amendment by the second owner finds the consent of the first", async () => {
  await propose([ada]);
  await guard.amend(amendRequest(guard, annex, [eve]), false);
  expect(guard.active().annex?.digest).toBe(subject);
});

test("one owner alone amends nothing, however often, nor with a stranger", async () => {
  for (let round = 0; round < 3; round++) {
    expect(await propose([ada, ada])).toMatchObject({ pending: { missing: 1 } });
    expect(await sign(ada)).toMatchObject({ pending: { missing: 1 } });
  }
  await expect(guard.amend(amendRequest(guard, annex, [ada]), false)).rejects.toMatchObject({
    code: "too_few_signatures",
  });
  await expect(propose([ada, stranger])).rejects.toMatchObject({ code: "not_owner" });
  await expect(sign(stranger)).rejects.toMatchObject({ code: "not_owner" });
  expect(await state.store().list("consents")).toHaveLength(1);
  expect(guard.active().annex).toBeUndefined();
});

test("consents to two annexes do not add up, nor one to a set of the same manifest", async () => {
  const other = withGrant(guard, "web", "data");
  await propose([ada]);
  await propose([ben], other);
  expect(guard.active().annex).toBeUndefined();
  expect(await pending.list(keyOf(eve))).toHaveLength(2);
  // A set of the manifest in force, which the amendments name as well.
  const manifest = quorum(["web"]);
  const set = { ...setRequest({ manifest }), callerKey: keyOf(ben), signedMeshKey: undefined };
  const change = changeAfter(guard.active(), manifest);
  expect(await guard.propose({ ...set, signatures: [signedBy(ben, change)] })).toMatchObject({
    pending: { owners: [keyOf(ben)], missing: 1 },
  });
  expect(guard.active().generation).toBe(1);
  await propose([eve], other);
  expect(annexOf(guard.active()).volumes.size).toBe(1);
});

test("an owner takes back the own consent, and nobody another's", async () => {
  await propose([ada]);
  await expect(pending.drop(keyOf(ben), subject)).rejects.toMatchObject({ code: "not_pending" });
  await expect(pending.drop(keyOf(stranger), subject)).rejects.toMatchObject({ code: "not_owner" });
  expect(await pending.drop(keyOf(ada), subject)).toMatchObject({ subject, owners: [], missing: 2 });
  expect(await pending.list(keyOf(ada))).toEqual([]);
  await expect(sign(ben)).rejects.toMatchObject({ code: "not_pending" });
});

test("the ciphertexts of what is pending stay, and go with it", async () => {
  await propose([ada]);
  const known = guard.active();
  // After a restart nobody remembers that they were sealed a moment ago.
  guard = await state.load();
  await guard.recover(recoverRequest(known));
  // The mesh CA is another one: a recovery ends all that was pending.
  expect(await guard.removeSecrets(new Roots(state.store()))).toBe(0);
  await guard.set(
    setRequest({
      manifest: quorum(["www"]),
      signatures: [ada, ben].map((pair) => signedBy(pair, changeAfter(guard.active(), quorum(["www"])))),
    }),
  );
  pending = new PendingChanges(guard, state.store(), { requireRoomFor: async () => undefined });
  await pending.tidy();
  expect(await guard.removeSecrets(new Roots(state.store()))).toBe(1);
  expect(await state.store().list("secrets")).toEqual([]);
});

test("what was sealed is there when the last owner signs, or the amendment is refused", async () => {
  await propose([ada]);
  const [{ sealed } = { sealed: "" }] = secretsOf(annex);
  await state.store().remove("secrets", sealed);
  await expect(sign(ben)).rejects.toMatchObject({ code: "not_sealed" });
  expect(guard.active().annex).toBeUndefined();
});

test("an amendment, a set and a use end all that is pending", async () => {
  await propose([ada]);
  await guard.amend(amendRequest(guard, withGrant(guard, "web", "data"), [ada, ben]), false);
  expect(await pending.list(keyOf(ada))).toEqual([]);
  const next = await withSecret(guard, "db", "hunter2");
  await propose([ada], next);
  expect(await pending.list(keyOf(ada))).toHaveLength(1);
  await guard.useFormatGrant(() => ({ workload: "web", volume: "data" }));
  expect(await pending.list(keyOf(ada))).toEqual([]);
  await expect(sign(ben, next)).rejects.toMatchObject({ code: expect.stringMatching(/not_pending|bad_signature/) });
});

test("an owner's amendments that wait have a bound, and so have they with sets together", async () => {
  for (let count = 1; count <= PENDING_LIMITS.owner.changes; count++) {
    await propose([ada], withGrant(guard, "web", "data", count));
  }
  await expect(propose([ada], withGrant(guard, "web", "data", 9))).rejects.toMatchObject({ code: "too_many_pending" });
});

test("a host makes nothing of consents: other annexes, other places, and damage are passed over", async () => {
  await propose([ada]);
  const host = new HostileStore(state.directory);
  const [record = ""] = await host.list("consents");
  const consent = parseConsent(await host.get("consents", record));
  const other = encodeAnnex(withGrant(guard, "web", "data"));
  await host.put("annexes", other);
  for (const changed of [
    { ...consent, annex: sha256Hex(other) },
    { ...consent, annex: undefined },
    { ...consent, manifest: "0".repeat(64) },
    { ...consent, meshKey: "0".repeat(64) },
    { ...consent, previous: "0".repeat(64) },
  ]) {
    await host.put("consents", encodeConsent(changed));
  }
  expect(await pending.list(keyOf(ben))).toMatchObject([{ subject, missing: 1 }]);
  // An annex that the host damaged can't be read, and so not be signed.
  writeFileSync(join(state.directory, "annexes", subject), "");
  expect(await pending.list(keyOf(ben))).toEqual([]);
  await expect(sign(ben)).rejects.toMatchObject({ code: "damaged_state" });
  // An owner who has the annex at hand needs the host for nothing.
  await guard.amend(amendRequest(guard, annex, [ben]), false);
  expect(guard.active().annex?.digest).toBe(subject);
});
