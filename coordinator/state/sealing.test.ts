import { createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Secret } from "../../runtime/secret.ts";
import { openSecret, type SecretLabel, sealSecret, SEALING } from "./sealing.ts";

const SEED = { seed: new Secret(Buffer.alloc(32, 1)), salt: Buffer.alloc(32, 2) };
const LABEL: SecretLabel = { name: "db", version: 3, readers: ["policy:" + "ab".repeat(32), "workload:web"] };
const NONCE = Buffer.alloc(12, 7);
const VALUE = new Secret(Buffer.from("correct horse"));

/** By the words of sealing.ts, with nothing of it. */
test("a record is what its form says", () => {
  const record = sealSecret(SEED, LABEL, VALUE, NONCE);
  const key = Buffer.from(
    hkdfSync("sha256", Buffer.alloc(32, 1), Buffer.alloc(32, 2), "contrast secret sealing key", 32),
  );
  const data =
    `contrast-secret-v1\0` +
    `\0\x02db` +
    `\0\0\0\x03` +
    `\0\x02` +
    `\0\x47policy:${"ab".repeat(32)}` +
    `\0\x0cworkload:web`;
  const decipher = createDecipheriv("aes-256-gcm", key, record.subarray(0, 12), { authTagLength: 16 });
  decipher.setAAD(Buffer.from(data, "latin1")).setAuthTag(record.subarray(-16));
  const opened = Buffer.concat([decipher.update(record.subarray(12, -16)), decipher.final()]);
  expect(record.subarray(0, 12)).toEqual(NONCE);
  expect(opened.toString()).toBe("correct horse");
  expect(record).toHaveLength(VALUE.reveal().length + SEALING);
});

const labels = fc.record({
  name: fc.string({ maxLength: 8 }),
  version: fc.nat(2 ** 32 - 1),
  readers: fc.array(fc.string({ maxLength: 8, unit: "binary" }), { maxLength: 3 }),
});

test("what is sealed opens under its own seed and label alone", () => {
  fc.assert(
    fc.property(labels, labels, fc.uint8Array({ minLength: 1, maxLength: 40 }), (label, other, value) => {
      const record = sealSecret(SEED, label, new Secret(value), randomBytes(12));
      expect(openSecret(SEED, label, record)?.reveal()).toEqual(Buffer.from(value));
      const isSame = JSON.stringify(label) === JSON.stringify(other);
      if (!isSame) expect(openSecret(SEED, other, record)).toBeUndefined();
      expect(openSecret({ ...SEED, salt: Buffer.alloc(32, 3) }, label, record)).toBeUndefined();
    }),
    { numRuns: 200 },
  );
});

test("no byte of a record can be changed, none be missing, and none be added", () => {
  const record = sealSecret(SEED, LABEL, VALUE, NONCE);
  for (let at = 0; at < record.length; at++) {
    const changed = Buffer.from(record);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    expect(openSecret(SEED, LABEL, changed)).toBeUndefined();
    expect(openSecret(SEED, LABEL, record.subarray(0, at))).toBeUndefined();
  }
  expect(openSecret(SEED, LABEL, Buffer.concat([record, Buffer.of(0)]))).toBeUndefined();
});

test("a nonce has 12 bytes", () => {
  expect(() => sealSecret(SEED, LABEL, VALUE, Buffer.alloc(11))).toThrow(RangeError);
});
