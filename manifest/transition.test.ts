import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MalformedBytes } from "../bytes/cursor.ts";
import { encodeTransition, parseTransition, type Transition } from "./transition.ts";

const FIRST = {
  manifest: "a1".repeat(32),
  previous: undefined,
  seedShares: "a3".repeat(32),
  rootKey: "a4".repeat(32),
  meshKey: undefined,
  signatures: [],
};
const signature = (key: number, length = 3) => {
  return { publicKey: Buffer.alloc(length, key), signature: Buffer.alloc(length + 1, key + 1) };
};
const NEXT = {
  ...FIRST,
  previous: "a2".repeat(32),
  meshKey: "a5".repeat(32),
  signatures: [signature(0x10), signature(0x20)],
};
const ANEW = { ...NEXT, version: 3 } as const;
const AMENDED = { ...NEXT, version: 4, annex: "a6".repeat(32) } as const;
const USED = { ...AMENDED, signatures: [] };
const all = [FIRST, NEXT, ANEW, AMENDED, USED];
const records = all.map((fields) => Buffer.from(encodeTransition(fields)));
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

/** Deployments depend on this for years. */
test("the record is encoded as it always was", () => {
  const digests = (numbers: string[]): string => numbers.map((byte) => byte.repeat(32)).join("");
  expect(records).toEqual([
    hex(`02 ${digests(["a1", "00", "a3", "a4", "00"])} 00`),
    hex(`02 ${digests(["a1", "a2", "a3", "a4", "a5"])} 02
      00000003 101010 00000004 11111111
      00000003 202020 00000004 21212121`),
    hex(`03 ${digests(["a1", "a2", "a3", "a4", "a5"])} 02
      00000003 101010 00000004 11111111
      00000003 202020 00000004 21212121`),
    hex(`04 ${digests(["a1", "a2", "a3", "a4", "a5", "a6"])} 02
      00000003 101010 00000004 11111111
      00000003 202020 00000004 21212121`),
    hex(`04 ${digests(["a1", "a2", "a3", "a4", "a5", "a6"])} 00`),
  ]);
});

test("what is encoded is parsed to the same, whatever the order of the signatures was", () => {
  for (const [index, fields] of all.entries()) {
    const record = records[index] ?? Buffer.alloc(0);
    const parsed = parseTransition(record);
    expect(parsed).toMatchObject(fields);
    expect(Buffer.from(parsed.record)).toEqual(record);
    const turned = { ...fields, signatures: fields.signatures.toReversed() };
    expect(Buffer.from(encodeTransition(turned))).toEqual(record);
  }
});

test("no prefix of a record and nothing longer is a record", () => {
  for (const record of records) {
    for (let length = 0; length < record.length; length++) {
      expect(() => parseTransition(record.subarray(0, length))).toThrow(MalformedBytes);
    }
    expect(() => parseTransition(Buffer.concat([record, Buffer.of(0)]))).toThrow("the end");
  }
});

test.each<[string, Partial<Omit<Transition, "record" | "digest">>]>([
  ["the first with a mesh CA key", { previous: undefined, signatures: [] }],
  ["the first with a signature", { previous: undefined, meshKey: undefined }],
  ["the first with version 3", { ...FIRST, version: 3 }],
  ["the first with an annex", { ...FIRST, annex: "a6".repeat(32) }],
  ["a use without a mesh CA key", { ...USED, meshKey: undefined }],
  ["a later one without a mesh CA key", { meshKey: undefined }],
  ["a later one that nobody signed", { signatures: [] }],
  ["one that a key signed twice", { signatures: [signature(0x10), signature(0x10)] }],
  ["one with 17 signatures", { signatures: Array.from({ length: 17 }, (_, index) => signature(index)) }],
  ["one with an empty key", { signatures: [{ publicKey: Buffer.alloc(0), signature: Buffer.of(1) }] }],
  ["one with an empty signature", { signatures: [{ publicKey: Buffer.of(1), signature: Buffer.alloc(0) }] }],
  ["one with a key of 257 bytes", { signatures: [signature(0x10, 257)] }],
])("%s is refused", (_name, changes) => {
  expect(() => parseTransition(encodeTransition({ ...NEXT, ...changes }))).toThrow(MalformedBytes);
});

test("signatures out of order and lengths that lead past the end are refused", () => {
  const [, record = Buffer.alloc(0)] = records;
  const at = 1 + 5 * 32 + 1;
  const [one, other] = [record.subarray(at, at + 15), record.subarray(at + 15)];
  const swapped = Buffer.concat([record.subarray(0, at), other, one]);
  expect(() => parseTransition(swapped)).toThrow("a key out of order");
  for (const length of [0, 257, 2 ** 31, 2 ** 32 - 1]) {
    const changed = Buffer.from(record);
    changed.writeUInt32BE(length, at);
    expect(() => parseTransition(changed)).toThrow(`got ${length}, want 1 to 256`);
  }
});

test.each([0, 1, 5, 255])("version %d is told apart from damage", (version) => {
  const changed = Buffer.from(records[0] ?? []);
  changed.writeUInt8(version);
  expect(() => parseTransition(changed)).toThrow(
    expect.objectContaining({ field: "version", got: String(version), want: "2 to 4" }),
  );
});

test("whatever parses is encoded to the same bytes", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...records),
      fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 3 }),
      (original, changes) => {
        const changed = Buffer.from(original);
        for (const [at, value] of changes) changed[at % changed.length] = value;
        let parsed: Transition;
        try {
          parsed = parseTransition(changed);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedBytes);
          return;
        }
        expect(Buffer.from(encodeTransition(parsed))).toEqual(changed);
      },
    ),
    { numRuns: 3000 },
  );
});
