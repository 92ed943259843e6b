import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toUtf8 } from "../bytes/encode.ts";
import {
  type Annex,
  EMPTY_ANNEX,
  encodeAnnex,
  LARGEST_ANNEX,
  MOST_OPEN_GRANTS,
  MOST_READERS,
  MOST_SECRETS,
  parseAnnex,
} from "./annex.ts";
import { policyReader, workloadReader } from "./annex-names.ts";
import { ManifestError } from "./error.ts";
import { annexOf, digest, secret, version } from "./test-annex.ts";

const BOTH = [policyReader("ab".repeat(32)), workloadReader("apps/v1/Deployment/shop/web")];
const SOUND = annexOf(
  { db: secret(3, version(3, digest(3), BOTH), version(2)), gone: secret(7) },
  { web: { data: { allowed: 2, used: 1 } } },
);

/** Deployments depend on this for years. */
test("an annex is encoded as it always was", () => {
  expect(toUtf8(encodeAnnex(EMPTY_ANNEX))).toBe('{"Secrets":{},"Volumes":{}}');
  expect(toUtf8(encodeAnnex(SOUND))).toBe(
    `{"Secrets":{"db":{"LatestVersion":3,"Versions":[` +
      `{"Readers":["policy:${"ab".repeat(32)}","workload:apps/v1/Deployment/shop/web"],"Sealed":"${digest(3)}","Version":3},` +
      `{"Readers":["workload:web"],"Sealed":"${digest(2)}","Version":2}]},` +
      `"gone":{"LatestVersion":7,"Versions":[]}},` +
      `"Volumes":{"web":{"data":{"FormatsAllowed":2,"FormatsUsed":1}}}}`,
  );
});

test("what is encoded is parsed to the same, whatever the order of its keys was", () => {
  for (const annex of [EMPTY_ANNEX, SOUND]) expect(parseAnnex(encodeAnnex(annex))).toEqual(annex);
  const turned = { ...SOUND, secrets: new Map([...SOUND.secrets].toReversed()) };
  expect(encodeAnnex(turned)).toEqual(encodeAnnex(SOUND));
});

/** JavaScript moves such keys of an object to the front, whatever their order. */
test("names that look like numbers, and one that is a property of every object, are names like any other", () => {
  const volumes = new Map(
    ["__proto__", "9", "10"].map((id) => [id, new Map([["constructor", { allowed: 1, used: 0 }]])]),
  );
  const annex = { ...annexOf({ 9: secret(1, version(1)), 10: secret(1), a: secret(1) }), volumes };
  const bytes = encodeAnnex(annex);
  expect(parseAnnex(bytes)).toEqual(annex);
  expect(toUtf8(bytes)).toMatch(/"10":.*"9":.*"a":.*"10":.*"9":.*"__proto__":/);
  expect(encodeAnnex(parseAnnex(bytes))).toEqual(bytes);
});

const text = toUtf8(encodeAnnex(SOUND));

test.each<[string, string]>([
  ["a space", text.replace(":", ": ")],
  ["a line feed at the end", `${text}\n`],
  ["keys out of order", text.replace(/^\{("Secrets":.*),("Volumes":.*)\}$/, "{$2,$1}")],
  ["an escape that need not be", text.replace("db", "\\u0064b")],
  ["a number in another form", text.replace('"Version":2', '"Version":2.0')],
  ["a key that stands twice", text.replace('"Secrets":', '"Volumes":{},"Secrets":')],
  ["an unknown key", text.replace('"Secrets":', '"A":0,"Secrets":')],
  ["no volumes", '{"Secrets":{}}'],
  ["another type", "[]"],
  ["no JSON", "x"],
  ["nothing", ""],
  ["a name that leads elsewhere", text.replace('"db"', '"../db"')],
  ["the name of the seed's file", text.replace('"db"', '"workload-secret-seed.1"')],
  ["a name of 64 characters", text.replace('"db"', `"${"d".repeat(64)}"`)],
  ["an empty name", text.replace('"db"', '""')],
  ["a digest in upper case", text.replaceAll("ab".repeat(32), "AB".repeat(32))],
  ["a reader of another kind", text.replace("policy:", "polity:")],
  ["a workload without a name", text.replace('"workload:web"', '"workload:"')],
  ["half a character", text.replace('"workload:web"', '"workload:\\ud800"')],
  ["readers out of order", text.replace(/"(policy:\w+)","(workload:[^"]+)"/, '"$2","$1"')],
  ["a reader twice", text.replace('"workload:web"', '"workload:web","workload:web"')],
  ["no readers", text.replace('["workload:web"]', "[]")],
  ["no ciphertext", text.replace(digest(3), "")],
  ["one ciphertext of two versions", text.replace(digest(3), digest(2))],
  ["a first version that is not the latest", text.replace('"LatestVersion":3', '"LatestVersion":4')],
  ["versions out of order", text.replace('"Version":2', '"Version":3')],
  ["version 0", text.replace('"LatestVersion":7', '"LatestVersion":0')],
  ["a version of more than 32 bits", text.replace('"LatestVersion":7', `"LatestVersion":${2 ** 32}`)],
  ["a version that is no whole number", text.replace('"LatestVersion":7', '"LatestVersion":7.5')],
  ["more uses than leaves", text.replace('"FormatsUsed":1', '"FormatsUsed":3')],
  ["a negative number", text.replace('"FormatsUsed":1', '"FormatsUsed":-1')],
  ["a volume in upper case", text.replace('"data"', '"Data"')],
  ["a volume that leads elsewhere", text.replace('"data"', '"../data"')],
  ["a workload without volumes", text.replace(/\{"data":.*\}\}/, "{}}")],
])("an annex with %s is refused", (_name, changed) => {
  expect(changed).not.toBe(text);
  expect(() => parseAnnex(Buffer.from(changed))).toThrow(ManifestError);
});

/** As many of each as may be, and one more. */
test.each<[string, number, (count: number) => Annex]>([
  [
    "secrets",
    MOST_SECRETS,
    (count) => annexOf(Object.fromEntries(Array.from({ length: count }, (_, index) => [`s${index}`, secret(1)]))),
  ],
  [
    "readers",
    MOST_READERS,
    (count) => {
      const readers = Array.from({ length: count }, (_, index) => workloadReader(String(index))).toSorted();
      return annexOf({ db: secret(1, version(1, digest(1), readers)) });
    },
  ],
  ["versions", 2, (count) => annexOf({ db: secret(9, ...[9, 8, 7].slice(0, count).map((one) => version(one))) })],
  ["open leaves", MOST_OPEN_GRANTS, (count) => annexOf({}, { web: { data: { allowed: count + 5, used: 5 } } })],
  ["characters of an id", 256, (count) => annexOf({}, { ["i".repeat(count)]: { data: { allowed: 1, used: 0 } } })],
  ["characters of a secret's name", 63, (count) => annexOf({ ["s".repeat(count)]: secret(1) })],
  [
    "characters of a volume's name",
    63,
    (count) => annexOf({}, { web: { ["v".repeat(count)]: { allowed: 1, used: 0 } } }),
  ],
])("there are at most so many %s", (_name, most, make) => {
  expect(parseAnnex(encodeAnnex(make(most)))).toEqual(make(most));
  expect(() => parseAnnex(encodeAnnex(make(most + 1)))).toThrow(ManifestError);
});

test("an annex has at most 64 KiB", () => {
  // One volume more has the same length each.
  const make = (count: number): Annex => {
    const ids = Array.from({ length: count }, (_, index) => String(index).padStart(4, "0"));
    return annexOf({}, Object.fromEntries(ids.map((id) => [id, { v: { allowed: 1, used: 0 } }])));
  };
  const each = encodeAnnex(make(2)).length - encodeAnnex(make(1)).length;
  const most = Math.floor((LARGEST_ANNEX - encodeAnnex(make(1)).length) / each) + 1;
  expect(parseAnnex(encodeAnnex(make(most))).volumes.size).toBe(most);
  expect(() => parseAnnex(encodeAnnex(make(most + 1)))).toThrow(
    expect.objectContaining({ want: `at most ${LARGEST_ANNEX}` }),
  );
});

const names = fc.stringMatching(/^[A-Za-z0-9][-_.A-Za-z0-9]{0,8}$/);
const ids = fc.string({ minLength: 1, maxLength: 12, unit: "binary" });
const annexes = fc
  .record({
    secrets: fc.dictionary(
      names,
      fc.record({
        latest: fc.integer({ min: 2, max: 2 ** 32 - 1 }),
        count: fc.integer({ min: 0, max: 2 }),
        readers: fc.uniqueArray(ids, { minLength: 1, maxLength: 4 }),
      }),
      { maxKeys: 4 },
    ),
    volumes: fc.dictionary(
      ids,
      fc.dictionary(
        fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,6}[a-z0-9])?$/),
        fc.record({ used: fc.nat(9), open: fc.nat(9) }),
        { minKeys: 1, maxKeys: 3 },
      ),
      { maxKeys: 3 },
    ),
  })
  .map(({ secrets, volumes }): Annex => {
    let ciphertexts = 0;
    const all = Object.entries(secrets).map(([name, { latest, count, readers }]) => {
      const sorted = readers.map(workloadReader).toSorted();
      const versions = [latest, latest - 1].slice(0, count).map((one) => version(one, digest(++ciphertexts), sorted));
      return [name, secret(latest, ...versions)] as const;
    });
    const grants = Object.entries(volumes).map(([id, ofWorkload]) => {
      const inner = Object.entries(ofWorkload).map(
        ([name, { used, open }]) => [name, { allowed: used + open, used }] as const,
      );
      return [id, new Map(inner)] as const;
    });
    return { secrets: new Map(all), volumes: new Map(grants) };
  });

test("every sound annex is parsed to itself", () => {
  fc.assert(
    fc.property(annexes, (annex) => {
      fc.pre(![...annex.secrets.keys()].some((name) => name.startsWith("workload-secret-seed")));
      const bytes = encodeAnnex(annex);
      expect(parseAnnex(bytes)).toEqual(annex);
      expect(JSON.parse(toUtf8(bytes))).toBeTypeOf("object");
    }),
    { numRuns: 300 },
  );
});

test("whatever parses is encoded to the same bytes", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(text.length), fc.nat(127)), { minLength: 1, maxLength: 2 }), (changes) => {
      const changed = Buffer.from(text);
      for (const [at, value] of changes) changed[at % changed.length] = value;
      let parsed: Annex;
      try {
        parsed = parseAnnex(changed);
      } catch (error) {
        expect(error).toBeInstanceOf(ManifestError);
        return;
      }
      expect(Buffer.from(encodeAnnex(parsed))).toEqual(changed);
    }),
    { numRuns: 3000 },
  );
});
