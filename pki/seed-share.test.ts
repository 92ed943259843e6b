import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { Secret } from "../runtime/secret.ts";
import { keyPairOf, spki } from "./keys.ts";
import {
  combineShares,
  decryptShare,
  encryptShare,
  MalformedShares,
  requireShareForm,
  splitSeed,
} from "./seed-share.ts";

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
  expect((await combineShares(some, some.length)).reveal().toString("hex")).toBe(vectors.seed);
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
    expect((await combineShares(some, threshold)).reveal()).toEqual(seed.reveal());
  }
});

test("one share too few gives another seed, and the same seed is never split the same way", async () => {
  const made = [await splitSeed(seed, 3, 3), await splitSeed(seed, 3, 3)];
  for (const three of made) {
    expect((await combineShares(three.slice(1), 2)).reveal()).not.toEqual(seed.reveal());
    await expect(combineShares(three.slice(1), 3)).rejects.toThrow("it takes 3 shares, not 2");
  }
  const values = made.flat().map((share) => share.reveal().toString("hex"));
  expect(new Set(values)).toHaveLength(6);
});

/** Who gives the seed itself as a point at place 0 would alone decide what all shares come to. */
test("a share at place 0 is refused, whatever the others are, and so is a place that two shares have", async () => {
  const chosen = Buffer.alloc(32, 0x66);
  const [honest, other] = await splitSeed(seed, 3, 2);
  if (honest === undefined || other === undefined) throw new Error("no shares");
  const place = honest.reveal().subarray(32);
  const attacks: [string, Buffer][] = [
    ["the seed at place 0", Buffer.concat([chosen, Buffer.of(0)])],
    ["the honest share again", honest.reveal()],
    ["another value at the honest share's place", Buffer.concat([chosen, place])],
    ["nothing", Buffer.alloc(0)],
    ["a seed without a place", chosen],
    ["a byte more", Buffer.concat([chosen, Buffer.of(7, 7)])],
    ["a place alone", Buffer.of(7)],
  ];
  for (const [what, bytes] of attacks) {
    for (const shares of [
      [honest, new Secret(bytes)],
      [new Secret(bytes), honest],
    ]) {
      const error: unknown = await combineShares(shares, 2).catch((thrown: unknown) => thrown);
      expect(error, what).toBeInstanceOf(MalformedShares);
      for (const secret of [chosen, honest.reveal()]) expect(inspect(error)).not.toContain(secret.toString("hex"));
    }
  }
  expect((await combineShares([honest, other], 2)).reveal()).toEqual(seed.reveal());
});

test.each([
  [1, 32, true],
  [1, 31, false],
  [1, 33, false],
  [1, 0, false],
  [2, 33, true],
  [2, 32, false],
  [2, 34, false],
  [255, 33, true],
])("with a threshold of %d a share of %d bytes is a share: %j", (threshold, length, isShare) => {
  const check = (): void => requireShareForm(new Secret(Buffer.alloc(length, 1)), threshold);
  if (isShare) check();
  else expect(check).toThrow(MalformedShares);
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
