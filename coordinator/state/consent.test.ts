import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MalformedBytes } from "../../bytes/cursor.ts";
import { type Consent, encodeConsent, parseConsent } from "./consent.ts";

const CONSENT: Consent = {
  manifest: "a1".repeat(32),
  previous: "a2".repeat(32),
  meshKey: "a3".repeat(32),
  size: 0x01020304,
  revoke: true,
  publicKey: Buffer.from("the key"),
  signature: Buffer.from("signed"),
};

/** What is pending when a Coordinator is upgraded is read by the next version. */
test("the form of a consent stays", () => {
  const [manifest, previous, meshKey] = ["a1", "a2", "a3"].map((byte) => byte.repeat(32));
  const want = `01${manifest}${previous}${meshKey}010203040100000007746865206b6579000000067369676e6564`;
  expect(encodeConsent(CONSENT).toString("hex")).toBe(want);
  expect(parseConsent(Buffer.from(want, "hex"))).toEqual(CONSENT);
});

test("so does that of a consent to an amendment", () => {
  const [manifest, previous, meshKey, annex] = ["a1", "a2", "a3", "a4"].map((byte) => byte.repeat(32));
  const want = `02${manifest}${previous}${meshKey}${annex}010203040100000007746865206b6579000000067369676e6564`;
  expect(encodeConsent({ ...CONSENT, annex }).toString("hex")).toBe(want);
  expect(parseConsent(Buffer.from(want, "hex"))).toEqual({ ...CONSENT, annex });
});

test("one consent has one encoding, and other bytes are refused by the name of a field", () => {
  const record = encodeConsent(CONSENT);
  const parse = (bytes: Uint8Array): Consent | undefined => {
    try {
      return parseConsent(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(MalformedBytes);
      return undefined;
    }
  };
  for (let length = 0; length < record.length; length++) expect(parse(record.subarray(0, length))).toBeUndefined();
  expect(parse(Buffer.concat([record, Buffer.of(0)]))).toBeUndefined();
  fc.assert(
    fc.property(fc.nat(record.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(record);
      changed.writeUInt8(changed.readUInt8(at) ^ flip, at);
      const consent = parse(changed);
      if (consent !== undefined) expect(encodeConsent(consent)).toEqual(changed);
    }),
  );
  expect(() => parseConsent(Buffer.concat([Buffer.of(3), record.subarray(1)]))).toThrow(
    expect.objectContaining({ field: "version" }),
  );
});
