import { createHash, generateKeyPairSync } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MalformedBytes } from "../../bytes/cursor.ts";
import { toHex } from "../../bytes/encode.ts";
import { spki } from "../../pki/keys.ts";
import { decryptShare } from "../../pki/seed-share.ts";
import { Secret } from "../../runtime/secret.ts";
import { encodeSeedShares, makeSeedShares, parseSeedShares, requireShareOf, type SeedShares } from "./seed-shares.ts";

const owners = [1, 2].map(() => generateKeyPairSync("rsa", { modulusLength: 2048 }));
const seed = new Secret(Buffer.alloc(32, 0x11));
const salt = Buffer.alloc(32, 0x22);

function share(byte: number, digest: boolean): SeedShares["shares"][number] {
  return {
    publicKey: Buffer.alloc(3, byte),
    encryptedSeed: Buffer.alloc(4, byte + 1),
    digest: digest ? Buffer.alloc(32, byte + 2) : undefined,
  };
}

const NEVER = { secretVersion: 1, earlier: [] };
const SIMPLE: SeedShares = { threshold: 1, salt, shares: [share(0x30, false), share(0x40, false)], ...NEVER };
const TWO_OF_TWO: SeedShares = { threshold: 2, salt, shares: [share(0x30, true), share(0x40, true)], ...NEVER };
const sealed = (version: number) => ({
  version,
  replaced: 0x0102,
  until: 0x0304,
  sealed: Buffer.alloc(92, 0x50 + version),
});
const REKEYED: SeedShares = { ...TWO_OF_TWO, secretVersion: 4, earlier: [sealed(1), sealed(3)] };
const CLOSED: SeedShares = { ...SIMPLE, secretVersion: 2 };

/** Deployments depend on this for years. */
test("the record is encoded as it always was", () => {
  const hex = (text: string): string => text.replaceAll(/\s/g, "");
  expect(toHex(encodeSeedShares(SIMPLE))).toBe(
    hex(`01 01 ${"22".repeat(32)} 00000003 303030 00000004 31313131 00000003 404040 00000004 41414141`),
  );
  expect(toHex(encodeSeedShares(TWO_OF_TWO))).toBe(
    hex(`01 02 ${"22".repeat(32)}
      00000003 303030 00000004 31313131 ${"32".repeat(32)}
      00000003 404040 00000004 41414141 ${"42".repeat(32)}`),
  );
  expect(toHex(encodeSeedShares(REKEYED))).toBe(
    hex(`02 02 ${"22".repeat(32)}
      00000004 02
      00000001 0000000000000102 0000000000000304 ${"51".repeat(92)}
      00000003 0000000000000102 0000000000000304 ${"53".repeat(92)}
      00000003 303030 00000004 31313131 ${"32".repeat(32)}
      00000003 404040 00000004 41414141 ${"42".repeat(32)}`),
  );
});

test.each([
  ["a threshold of 1", SIMPLE],
  ["a higher threshold", TWO_OF_TWO],
  ["no owner", { threshold: 1, salt, shares: [], ...NEVER }],
  ["rekeys and earlier seeds", REKEYED],
  ["a rekey and no earlier seed", CLOSED],
])("what is encoded with %s is parsed to the same", (_name, shares) => {
  expect(parseSeedShares(encodeSeedShares(shares))).toEqual(shares);
});

test("a record that is cut, longer, of another version or with an impossible threshold is refused", () => {
  const bytes = encodeSeedShares(TWO_OF_TWO);
  const owner = (bytes.length - 34) / 2;
  for (let length = 0; length < bytes.length; length++) {
    // Cut behind a whole owner, one is left, which is too few for two.
    const field = length === 34 || length === 34 + owner ? "threshold" : undefined;
    expect(() => parseSeedShares(bytes.subarray(0, length))).toThrow(MalformedBytes);
    if (field !== undefined) expect(() => parseSeedShares(bytes.subarray(0, length))).toThrow(field);
  }
  expect(() => parseSeedShares(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(MalformedBytes);
  for (const [at, value, field] of [
    [0, 0, "version"],
    [0, 3, "version"],
    [1, 0, "threshold"],
    [1, 3, "threshold"],
  ] as const) {
    const changed = Buffer.from(bytes);
    changed.writeUInt8(value, at);
    expect(() => parseSeedShares(changed)).toThrow(field);
  }
});

test.each<[string, Partial<SeedShares>, string]>([
  ["no rekey", { secretVersion: 0 }, "version of the workload secrets"],
  ["an earlier seed of the version in force", { secretVersion: 3 }, "earlier seed 1, version"],
  ["earlier seeds out of order", { earlier: [sealed(3), sealed(1)] }, "earlier seed 1, version"],
  ["one of version 0", { earlier: [sealed(0)] }, "earlier seed 0, version"],
  ["a time that no clock has", { earlier: [{ ...sealed(1), until: 2 ** 62 }] }, "earlier seed 0, until"],
])("a record of version 2 with %s is refused", (_name, changes, field) => {
  expect(() => parseSeedShares(encodeSeedShares({ ...REKEYED, ...changes }))).toThrow(field);
});

test("whatever parses is encoded to the same bytes", () => {
  const bytes = [SIMPLE, TWO_OF_TWO, REKEYED, CLOSED].map(encodeSeedShares);
  fc.assert(
    fc.property(fc.constantFrom(...bytes), fc.nat(100), fc.nat(255), (original, at, value) => {
      const changed = Buffer.from(original);
      changed[at % changed.length] = value;
      let parsed: SeedShares;
      try {
        parsed = parseSeedShares(changed);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedBytes);
        return;
      }
      expect(encodeSeedShares(parsed)).toEqual(changed);
    }),
    { numRuns: 2000 },
  );
});

test("every owner gets a share of its own, and with a threshold of 1 the seed itself", async () => {
  const keys = owners.map(({ publicKey }) => spki(publicKey));
  const open = (shares: SeedShares): Buffer[] =>
    shares.shares.flatMap(({ encryptedSeed }, index) => {
      const key = owners[index]?.privateKey;
      return key === undefined ? [] : [decryptShare(encryptedSeed, key).reveal()];
    });
  const simple = await makeSeedShares(seed, salt, keys, 1);
  expect(open(simple)).toEqual([seed.reveal(), seed.reveal()]);
  expect(simple.shares.map(({ publicKey, digest }) => [publicKey, digest])).toEqual(
    keys.map((key) => [key, undefined]),
  );

  const both = await makeSeedShares(seed, salt, keys, 2);
  expect(new Set(open(both).map((bytes) => bytes.toString("hex")))).toHaveLength(2);
  expect(both.shares.map(({ digest }) => digest)).toEqual(
    open(both).map((bytes) => createHash("sha256").update(bytes).digest()),
  );
});

test("a share is right only for the owner it was made for", async () => {
  const [one, other] = owners.map(({ publicKey }) => spki(publicKey));
  if (one === undefined || other === undefined) throw new Error("no owners");
  const shares = await makeSeedShares(seed, salt, [one, other], 2);
  const [first] = shares.shares;
  const key = owners[0]?.privateKey;
  if (first === undefined || key === undefined) throw new Error("no share");
  const right = decryptShare(first.encryptedSeed, key);
  requireShareOf(shares, { ownerSpki: one, share: right, salt: salt });
  const refused = expect.objectContaining({ code: "wrong_seed" });
  expect(() => requireShareOf(shares, { ownerSpki: other, share: right, salt: salt })).toThrow(refused);
  expect(() => requireShareOf(shares, { ownerSpki: one.subarray(1), share: right, salt: salt })).toThrow(refused);
  for (let bit = 0; bit < salt.length * 8; bit++) {
    const flipped = Buffer.from(salt.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
    expect(() => requireShareOf(shares, { ownerSpki: one, share: right, salt: flipped })).toThrow(refused);
  }
});
