import { createHash, generateKeyPairSync, type KeyObject } from "node:crypto";
import { expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import type { Change } from "../../manifest/change.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { type Manifest, parseManifest } from "../../manifest/manifest.ts";
import { type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { requireOwnersLeave, requireSeedshareOwner } from "./authorize.ts";
import { manifestOf, seedshareOwners, signedBy } from "../test-deployment.ts";

const ec = (namedCurve: string): KeyPair => generateKeyPairSync("ec", { namedCurve });
const keys = {
  "P-256": ec("P-256"),
  "P-384": ec("P-384"),
  "P-521": ec("P-521"),
  secp256k1: ec("secp256k1"),
  RSA: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  Ed25519: generateKeyPairSync("ed25519"),
} as const satisfies Record<string, KeyPair>;
const digest = (key: KeyObject): string => toHex(spkiDigest(key));

const active: Manifest = parseManifest(
  manifestOf({ owners: Object.values(keys).map(({ publicKey }) => digest(publicKey)) }),
);
const change: Change = {
  manifest: manifestOf({ names: ["www"] }),
  previous: Buffer.alloc(32, 0x33),
  meshKey: Buffer.alloc(32, 0x44),
};
const stranger = "b".repeat(64);

const signed = (pair: KeyPair): ChangeSignature => signedBy(pair, change);

/** On the connection of this caller, for what the Coordinator says the change is. */
function requireOwner(
  manifest: Manifest,
  caller: string,
  asked: Change,
  signature: ChangeSignature | undefined,
  signedMeshKey?: Uint8Array,
): string | undefined {
  const signatures = signature === undefined ? [] : [signature];
  return requireOwnersLeave(manifest, caller, { change: asked, signatures, signedMeshKey }).owners[0];
}

function codeOf(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

test.each(["P-256", "P-384", "P-521"] as const)("an owner's signature with %s stands for the owner", (curve) => {
  const key = digest(keys[curve].publicKey);
  expect(requireOwner(active, stranger, change, signed(keys[curve]))).toBe(key);
  expect(codeOf(() => requireOwner(active, key, change, undefined))).toBe("signature_missing");
});

test.each(["secp256k1", "RSA", "Ed25519"] as const)("a signature with a key of kind %s is refused", (kind) => {
  expect(codeOf(() => requireOwner(active, stranger, change, signed(keys[kind])))).toBe("bad_signature");
});

test("a signature over another manifest or of another position is refused", () => {
  const flip = (bytes: Uint8Array, bit: number): Buffer =>
    Buffer.from(bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
  const signature = signed(keys["P-256"]);
  for (let bit = 0; bit < 32 * 8; bit++) {
    for (const other of [
      { ...change, previous: flip(change.previous, bit) },
      { ...change, manifest: flip(change.manifest, bit) },
      { ...change, meshKey: flip(change.meshKey, bit) },
    ]) {
      expect(codeOf(() => requireOwner(active, stranger, other, signature))).toBe("bad_signature");
    }
  }
});

/** Two Coordinators that were recovered from one state share history and seed; each has made a mesh CA of its own. */
test("a signature that was made for another mesh CA is refused, and whoever knows that is told", () => {
  const here = { ...change, meshKey: Buffer.alloc(32, 0x45) };
  const signature = signed(keys["P-256"]);
  expect(codeOf(() => requireOwner(active, stranger, here, signature))).toBe("bad_signature");
  expect(codeOf(() => requireOwner(active, stranger, here, signature, change.meshKey))).toBe("signature_outdated");
  // What is said of a signature decides nothing.
  expect(codeOf(() => requireOwner(active, stranger, here, signature, here.meshKey))).toBe("bad_signature");
  const good = signedBy(keys["P-256"], here);
  expect(requireOwner(active, stranger, here, good, change.meshKey)).toBe(digest(keys["P-256"].publicKey));
});

test("a signature or a key with any bit changed is refused, even on an owner's connection", () => {
  const { publicKey, signature } = signed(keys["P-256"]);
  const owner = digest(keys["P-256"].publicKey);
  const flip = (bytes: Uint8Array, bit: number): Buffer =>
    Buffer.from(bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
  for (let bit = 0; bit < signature.length * 8; bit++) {
    const changed = { publicKey, signature: flip(signature, bit) };
    expect(codeOf(() => requireOwner(active, owner, change, changed))).toBe("bad_signature");
  }
  for (let bit = 0; bit < publicKey.length * 8; bit++) {
    const changed = { publicKey: flip(publicKey, bit), signature };
    expect(codeOf(() => requireOwner(active, owner, change, changed))).toBe("not_owner");
  }
  for (const changed of [
    { publicKey, signature: signature.subarray(1) },
    { publicKey, signature: Buffer.concat([signature, Buffer.of(0)]) },
    { publicKey, signature: Buffer.alloc(0) },
    { publicKey, signature: signed(keys["P-384"]).signature },
  ]) {
    expect(codeOf(() => requireOwner(active, owner, change, changed))).toBe("bad_signature");
  }
});

test("a digest of an owner that is no key's is refused when it signs", () => {
  const garbage = Buffer.from("no key");
  const owners = [createHash("sha256").update(garbage).digest("hex")];
  const manifest = { ...active, workloadOwnerKeyDigests: owners };
  const { signature } = signed(keys["P-256"]);
  expect(codeOf(() => requireOwner(manifest, stranger, change, { publicKey: garbage, signature }))).toBe(
    "bad_signature",
  );
});

test("the owners of the active manifest decide, and where there are none nobody does", () => {
  const outsider = ec("P-256");
  expect(codeOf(() => requireOwner(active, stranger, change, signed(outsider)))).toBe("not_owner");
  expect(codeOf(() => requireOwner(active, stranger, change, undefined))).toBe("not_owner");
  const immutable = { ...active, workloadOwnerKeyDigests: [] };
  expect(codeOf(() => requireOwner(immutable, stranger, change, signed(keys["P-256"])))).toBe("immutable");
  expect(codeOf(() => requireOwner(immutable, stranger, change, undefined))).toBe("immutable");
});

test("seed share owners are those whose whole keys the manifest names", () => {
  const manifest = parseManifest(manifestOf({ seedshareOwners: seedshareOwners.slice(0, 2) }));
  const [one, two, three] = seedshareOwners.map(({ publicKey }) => spki(publicKey));
  for (const owner of [one, two]) requireSeedshareOwner(manifest, owner ?? Buffer.alloc(0));
  const strangers = [three, one?.subarray(1), one && Buffer.concat([one, Buffer.of(0)]), Buffer.alloc(0)];
  for (const other of strangers) {
    expect(codeOf(() => requireSeedshareOwner(manifest, other ?? Buffer.alloc(0)))).toBe("not_seedshare_owner");
  }
});

/** Three owners, and so many of them that it takes. */
function severalOwners(threshold: number): { manifest: Manifest; three: readonly KeyPair[]; digests: string[] } {
  const three = [ec("P-256"), ec("P-384"), ec("P-521")];
  const digests = three.map(({ publicKey }) => digest(publicKey));
  return { manifest: parseManifest(manifestOf({ owners: digests, ownerThreshold: threshold })), three, digests };
}

test("a change needs as many owners as the manifest says, and each counts once", () => {
  const { manifest, three, digests } = severalOwners(2);
  const require = (signatures: readonly ChangeSignature[]): unknown =>
    codeOf(() => requireOwnersLeave(manifest, stranger, { change, signatures, signedMeshKey: undefined }));
  const [one, two, all] = [three.slice(0, 1), three.slice(1), three].map((pairs) => pairs.map(signed));
  if (one === undefined || two === undefined || all === undefined) throw new Error("no signatures");
  expect(require(two)).toEqual({ owners: digests.slice(1), missing: 0 });
  expect(require(all)).toEqual({ owners: digests, missing: 0 });
  expect(require(one)).toEqual({ owners: digests.slice(0, 1), missing: 1 });
  // ECDSA makes another signature each time, and all of them are good.
  const twice = [...one, ...three.slice(0, 1).map(signed)];
  expect(require(twice)).toEqual({ owners: digests.slice(0, 1), missing: 1 });
  expect(require([])).toBe("not_owner");
  // Enough good ones don't carry a bad one, or one of somebody else, into the history.
  expect(require([...all, signed(ec("P-256"))])).toBe("not_owner");
  const bad = { ...signed(three[0] ?? ec("P-256")), signature: Buffer.of(1) };
  expect(require([...two, bad])).toBe("bad_signature");
});

/** OpenSSL reads a point in three encodings. Each has a digest of its own, and a manifest names keys by digests. */
test("a key that the manifest names by two of its encodings is one owner", () => {
  const pair = ec("P-256");
  const plain = spki(pair.publicKey);
  const [x, y] = [plain.subarray(27, 59), plain.subarray(59, 91)];
  const prefix = Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex");
  const compressed = Buffer.concat([prefix, Buffer.of(2 + ((y[31] ?? 0) & 1)), x]);
  const owners = [plain, compressed].map((der) => createHash("sha256").update(der).digest("hex"));
  const manifest = parseManifest(manifestOf({ owners, ownerThreshold: 2 }));
  const { signature } = signed(pair);
  const signatures = [plain, compressed].map((publicKey) => ({ publicKey, signature }));
  const leave = requireOwnersLeave(manifest, stranger, { change, signatures, signedMeshKey: undefined });
  expect(leave).toEqual({ owners, missing: 1 });
});
