import { expect, test } from "vitest";
import type { Annex } from "./annex.ts";
import { faultOfAmendment, faultOfReseal, faultOfUse } from "./annex-changes.ts";
import { workloadReader } from "./annex-names.ts";
import { annexOf, digest, secret, version } from "./test-annex.ts";

const V3 = version(3);
const V2 = version(2);
const NEW = version(4, digest(0xa4));
const VOLUMES = { web: { data: { allowed: 2, used: 1 } } };
const BEFORE = annexOf({ db: secret(3, V3, V2), gone: secret(7) }, VOLUMES);

const withDb = (db: ReturnType<typeof secret>): Annex => annexOf({ db, gone: secret(7) }, VOLUMES);
const withData = (allowed: number, used: number): Annex =>
  annexOf({ db: secret(3, V3, V2), gone: secret(7) }, { web: { data: { allowed, used } } });

test.each<[string, Annex]>([
  ["a new version beside the latest of before", withDb(secret(4, NEW, V3))],
  ["a new version alone", withDb(secret(4, NEW))],
  ["other readers with a new version", withDb(secret(4, { ...NEW, readers: [workloadReader("other")] }, V3))],
  ["the earlier version gone", withDb(secret(3, V3))],
  ["a secret removed", withDb(secret(3))],
  [
    "a removed secret back, under the next number",
    annexOf({ db: secret(3, V3, V2), gone: secret(8, version(8)) }, VOLUMES),
  ],
  ["a new secret", annexOf({ db: secret(3, V3, V2), gone: secret(7), api: secret(1, version(1)) }, VOLUMES)],
  ["one more format allowed", withData(3, 1)],
  ["a leave taken back that nobody used", withData(1, 1)],
  [
    "another volume, and a secret, at once",
    annexOf({ db: secret(4, NEW), gone: secret(7) }, { ...VOLUMES, api: { data: { allowed: 1, used: 0 } } }),
  ],
])("owners may amend: %s", (_name, after) => {
  expect(faultOfAmendment(BEFORE, after)).toBeUndefined();
});

test.each<[string, Annex]>([
  ["nothing", BEFORE],
  ["a secret without a trace", annexOf({ gone: secret(7) }, VOLUMES)],
  ["the number of a removed secret without a trace", annexOf({ db: secret(3, V3, V2) }, VOLUMES)],
  ["a volume without a trace", annexOf({ db: secret(3, V3, V2), gone: secret(7) })],
  ["two versions at once", withDb(secret(5, version(5)))],
  ["back to an earlier version", withDb(secret(2, V2))],
  ["another ciphertext under the same number", withDb(secret(3, { ...V3, sealed: digest(9) }, V2))],
  ["other readers under the same number", withDb(secret(3, { ...V3, readers: [workloadReader("other")] }, V2))],
  ["other readers of the version before", withDb(secret(4, NEW, { ...V3, readers: [workloadReader("other")] }))],
  ["a version before that never was", withDb(secret(4, NEW, { ...V3, sealed: digest(9) }))],
  ["the new version beside one that is two older", withDb(secret(4, NEW, V2))],
  ["a dropped version back", withDb(secret(3, V3, version(1)))],
  ["a number without a version", withDb(secret(4))],
  ["the ciphertext of before under a new number", withDb(secret(4, { ...NEW, sealed: V2.sealed }, V3))],
  [
    "the ciphertext of another secret",
    annexOf({ db: secret(3, V3), gone: secret(7), api: secret(1, version(1, V2.sealed)) }, VOLUMES),
  ],
  [
    "a new secret that begins with version 2",
    annexOf({ db: secret(3, V3, V2), gone: secret(7), api: secret(2, V2) }, VOLUMES),
  ],
  [
    "a removed secret back under its old number",
    annexOf({ db: secret(3, V3, V2), gone: secret(7, version(7)) }, VOLUMES),
  ],
  ["a leave used", withData(2, 2)],
  ["a use undone", withData(2, 0)],
  [
    "a new volume that was used",
    annexOf({ db: secret(3, V3, V2), gone: secret(7) }, { web: { ...VOLUMES.web, log: { allowed: 1, used: 1 } } }),
  ],
])("owners may not amend: %s", (_name, after) => {
  expect(faultOfAmendment(BEFORE, after)).toMatchObject({ where: expect.any(String) });
});

test("a leave is used one at a time, and nothing else changes with it", () => {
  const two = (web: number, api: number, allowed = 2): Annex =>
    annexOf({ db: secret(3, V3) }, { api: { data: { allowed, used: api } }, web: { data: { allowed: 2, used: web } } });
  expect(faultOfUse(two(0, 0), two(1, 0))).toBeUndefined();
  expect(faultOfUse(two(1, 1), two(1, 2))).toBeUndefined();
  const before = two(1, 0);
  expect(faultOfUse(before, before)).toBeDefined();
  expect(faultOfUse(before, two(2, 1))).toBeDefined();
  expect(faultOfUse(before, two(0, 1))).toBeDefined();
  expect(faultOfUse(before, two(1, 2))).toBeDefined();
  expect(faultOfUse(before, two(0, 0))).toBeDefined();
  // It grants itself a leave, and uses it.
  expect(faultOfUse(before, two(1, 1, 3))).toBeDefined();
  expect(faultOfUse(before, annexOf({}, { api: { data: { allowed: 2, used: 1 } }, web: VOLUMES.web }))).toBeDefined();
  expect(
    faultOfUse(BEFORE, annexOf({ db: secret(3, V3), gone: secret(7) }, { web: { data: { allowed: 2, used: 2 } } })),
  ).toBeDefined();
  const more = { ...VOLUMES, web: { data: { allowed: 2, used: 2 }, log: { allowed: 0, used: 0 } } };
  expect(faultOfUse(BEFORE, annexOf({ db: secret(3, V3, V2), gone: secret(7) }, more))).toBeDefined();
});

test("a rekey seals every secret anew, and changes nothing else", () => {
  const anew = withDb(secret(3, { ...V3, sealed: digest(0xa3) }, { ...V2, sealed: digest(0xa2) }));
  expect(faultOfReseal(BEFORE, anew)).toBeUndefined();
  expect(faultOfReseal(BEFORE, BEFORE)).toBeDefined();
  expect(faultOfReseal(BEFORE, withDb(secret(3, { ...V3, sealed: digest(0xa3) }, V2)))).toBeDefined();
  // The two ciphertexts of before, exchanged.
  expect(
    faultOfReseal(BEFORE, withDb(secret(3, { ...V3, sealed: V2.sealed }, { ...V2, sealed: V3.sealed }))),
  ).toBeDefined();
  expect(faultOfReseal(BEFORE, withDb(secret(3, { ...V3, sealed: digest(0xa3) })))).toBeDefined();
  const other = { ...V3, sealed: digest(0xa3), readers: [workloadReader("other")] };
  expect(faultOfReseal(BEFORE, withDb(secret(3, other, { ...V2, sealed: digest(0xa2) })))).toBeDefined();
  expect(faultOfReseal(BEFORE, annexOf({ db: anew.secrets.get("db") ?? secret(1) }, VOLUMES))).toBeDefined();
  expect(faultOfReseal(BEFORE, { ...anew, volumes: withData(3, 1).volumes })).toBeDefined();
  const empty = annexOf({ gone: secret(7) }, VOLUMES);
  expect(faultOfReseal(empty, empty)).toBeUndefined();
});
