import { createHash, sign } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { encodePermit, PERMIT_HEADER } from "../../api/permit.ts";
import { toHex } from "../../bytes/encode.ts";
import { changeToSign } from "../../manifest/change.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { ownerAccount, requireAnyOwner } from "./owner-places.ts";
import { requireMaySetManifest } from "./set-permit.ts";
import type { StateGuard } from "../state/state-guard.ts";
import { makeState, manifestOf, setRequest, type TestState } from "../test-deployment.ts";

/** Who may send a large manifest, asked of a real state before the manifest is there. */

const [owner, stranger] = [await generateEcKey("P-384"), await generateEcKey("P-384")];
const ownerKey = toHex(spkiDigest(owner.publicKey));
const strangerKey = toHex(spkiDigest(stranger.publicKey));
const next = manifestOf({ owners: [ownerKey], names: ["next"] });

const states: TestState[] = [];
afterEach(async () => {
  for (const state of states.splice(0)) await state.remove();
});

/** The change that would follow now. */
interface Place {
  readonly previous: Uint8Array;
  readonly meshKey: Uint8Array;
}

async function active(owners = [ownerKey]): Promise<{ guard: StateGuard; state: TestState; place: Place }> {
  const state = await makeState();
  states.push(state);
  const guard = await state.load();
  const { snapshot } = await guard.set(setRequest({ manifest: manifestOf({ owners }) }));
  const place = {
    previous: Buffer.from(snapshot.latest.transition, "hex"),
    meshKey: spkiDigest(snapshot.authority.meshKey.publicKey),
  };
  return { guard, state, place };
}

/** What a client sends ahead. */
function permit(
  keys: KeyPair,
  manifest: Uint8Array,
  place: Place,
  changes: { digest?: Uint8Array; publicKey?: Uint8Array } = {},
) {
  const bytes = encodePermit({
    manifestDigest: changes.digest ?? createHash("sha256").update(manifest).digest(),
    signature: {
      publicKey: changes.publicKey ?? spki(keys.publicKey),
      signature: sign("sha256", changeToSign({ manifest, ...place }), keys.privateKey),
    },
  });
  return { [PERMIT_HEADER]: bytes.toString("base64") };
}

test("anybody may send the first manifest, and nobody one to a Coordinator that needs recovery", async () => {
  const state = await makeState();
  states.push(state);
  const empty = await state.load();
  requireMaySetManifest(empty, strangerKey, {});
  await empty.set(setRequest({ manifest: manifestOf({ owners: [ownerKey] }) }));
  const restarted = await state.load();
  expect(() => requireMaySetManifest(restarted, ownerKey, {})).toThrow(
    expect.objectContaining({ code: "needs_recovery" }),
  );
});

test("an owner may, by the key of the connection, and whoever brings an owner's signature", async () => {
  const { guard, place } = await active();
  requireMaySetManifest(guard, ownerKey, {});
  requireMaySetManifest(guard, strangerKey, permit(owner, next, place));
});

/** What several owners send ahead. One of them is enough for memory; whether the change is made is not decided here. */
test("one of several owners is enough to send a manifest, and every signature has to be good", async () => {
  const { guard, place } = await active([ownerKey, strangerKey]);
  const other = await generateEcKey("P-256");
  const headers = (...pairs: readonly KeyPair[]) => ({
    [PERMIT_HEADER]: encodePermit({
      manifestDigest: createHash("sha256").update(next).digest(),
      signatures: pairs.map(({ publicKey, privateKey }) => ({
        publicKey: spki(publicKey),
        signature: sign("sha256", changeToSign({ manifest: next, ...place }), privateKey),
      })),
    }).toString("base64"),
  });
  const key = toHex(spkiDigest(other.publicKey));
  requireMaySetManifest(guard, key, headers(owner));
  requireMaySetManifest(guard, key, headers(owner, stranger));
  requireMaySetManifest(guard, key, headers(...Array.from({ length: 16 }, () => owner)));
  const refused = (code: string, pairs: readonly KeyPair[]): void =>
    expect(() => requireMaySetManifest(guard, key, headers(...pairs))).toThrow(expect.objectContaining({ code }));
  refused("not_owner", [owner, other]);
  refused(
    "malformed_request",
    Array.from({ length: 17 }, () => owner),
  );
});

test("strangers may not, whatever they bring", async () => {
  const { guard, place } = await active();
  const refused = (headers: Record<string, string>, code: string): void =>
    expect(() => requireMaySetManifest(guard, strangerKey, headers), JSON.stringify(headers)).toThrow(
      expect.objectContaining({ code }),
    );
  refused({}, "not_owner");
  refused({ [PERMIT_HEADER]: "" }, "not_owner");
  refused({ [PERMIT_HEADER]: Buffer.alloc(4000, 0x12).toString("base64") }, "not_owner");
  refused(permit(stranger, next, place), "not_owner");
  refused(permit(stranger, next, place, { publicKey: spki(owner.publicKey) }), "bad_signature");
  refused(permit(owner, next, { ...place, previous: Buffer.alloc(32, 1) }), "bad_signature");
  refused(permit(owner, next, { ...place, meshKey: Buffer.alloc(32, 1) }), "bad_signature");
  refused(permit(owner, next, place, { digest: Buffer.alloc(32, 1) }), "bad_signature");
  refused(permit(owner, next, place, { digest: Buffer.alloc(31) }), "not_owner");
});

test("nobody may where the manifest names no owner", async () => {
  const { guard, place } = await active([]);
  expect(() => requireMaySetManifest(guard, ownerKey, permit(owner, next, place))).toThrow(
    expect.objectContaining({ code: "immutable" }),
  );
});

test("owners are known for their places: all of the active manifest, and in recovery all of the stored one", async () => {
  const { guard, state } = await active();
  expect(guard.ownersInsecure.has(ownerKey)).toBe(true);
  expect(guard.ownersInsecure.size).toBe(2);
  expect(guard.ownersInsecure.has(strangerKey)).toBe(false);
  const user = (key: string) => ({ address: "127.0.0.1:1", spki: Buffer.alloc(0), key });
  expect(ownerAccount(guard, user(ownerKey))).toBe(`owner ${ownerKey}`);
  expect(ownerAccount(guard, user(strangerKey))).toBeUndefined();
  requireAnyOwner(guard, user(ownerKey));
  expect(() => requireAnyOwner(guard, user(strangerKey))).toThrow(
    expect.objectContaining({ code: "not_seedshare_owner" }),
  );
  const restarted = await state.load();
  expect([...restarted.ownersInsecure].sort()).toEqual([...guard.ownersInsecure].sort());
});
