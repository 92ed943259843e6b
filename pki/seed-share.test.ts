import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { Secret } from "../runtime/secret.ts";
import { keyPairOf, spki } from "./keys.ts";
import { combineShares, decryptShare, encryptShare, splitSeed } from "./seed-share.ts";

/** Shares that exist must be readable for ever: what the vectors hold was made by the first version. */
const vectors = JSON.parse(readFileSync(new URL("seed-share.vectors.json", import.meta.url), "utf8")) as Readonly<{
  ownerKey: string;
  seed: string;
  encryptedSeed: string;
  encryptedShare: string;
  shares: string[];
}>;
const owner = keyPairOf(
  createPrivateKey({ key: Buffer.from(vectors.ownerKey, "base64"), format: "der", type: "pkcs8" }),
);
const seed = new Secret(Buffer.from(vectors.seed, "hex"));
const shares = vectors.shares.map((share) => new Secret(Buffer.from(share, "hex")));

test("an owner's key opens the shares of the first version", () => {
  const open = (share: string): string =>
    decryptShare(Buffer.from(share, "base64"), owner.privateKey).reveal().toString("hex");
  expect(open(vectors.encryptedSeed)).toBe(vectors.seed);
  expect(open(vectors.encryptedShare)).toBe(vectors.shares[0]);
});

test.each([
  [0, 1],
  [1, 0],
  [0, 2],
  [1, 2],
  [0, 1, 2],
])("the shares %j and %j of the first version give the seed", async (...indices) => {
  const some = indices.flatMap((index) => shares[index] ?? []);
  expect((await combineShares(some)).reveal().toString("hex")).toBe(vectors.seed);
});

test.each([
  [1, 1],
  [3, 1],
  [2, 2],
  [3, 2],
  [5, 5],
  [255, 3],
])("of %d shares, any %d give the seed", async (owners, threshold) => {
  const made = await splitSeed(seed, owners, threshold);
  expect(made).toHaveLength(owners);
  for (const some of [made.slice(0, threshold), made.slice(-threshold)]) {
    expect((await combineShares(some)).reveal()).toEqual(seed.reveal());
  }
});

test("one share too few gives another seed, and the same seed is never split the same way", async () => {
  const made = [await splitSeed(seed, 3, 3), await splitSeed(seed, 3, 3)];
  for (const three of made) expect((await combineShares(three.slice(1))).reveal()).not.toEqual(seed.reveal());
  const values = made.flat().map((share) => share.reveal().toString("hex"));
  expect(new Set(values)).toHaveLength(6);
});

test("another owner's key and a changed share are refused, and nothing secret is in the error", () => {
  const encrypted = encryptShare(seed, spki(owner.publicKey));
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const flipped = Buffer.from(encrypted.map((byte, at) => (at === 100 ? byte ^ 1 : byte)));
  for (const attempt of [() => decryptShare(encrypted, privateKey), () => decryptShare(flipped, owner.privateKey)]) {
    let error: unknown;
    try {
      attempt();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(Error);
    expect(inspect(error)).not.toContain(vectors.seed);
  }
});
