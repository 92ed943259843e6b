import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decodeBounded, MAX_FIELDS, UnboundedMessage } from "./bounded-message.ts";
import { ClientHelloSchema, file_channel } from "./channel_pb.ts";
import { file_health } from "./health_pb.ts";
import { file_meshapi } from "./meshapi_pb.ts";
import { file_userapi, SetManifestRequestSchema } from "./userapi_pb.ts";

const bytes = fc.uint8Array({ maxLength: 40 });
const request = fc.record({
  manifest: bytes,
  policies: fc.array(bytes, { maxLength: 8 }),
  latestTransition: bytes,
  signature: fc.record({ publicKey: bytes, signature: bytes }),
});
const hello = fc.record({
  evidence: fc.record({
    kind: fc.oneof(
      fc.record({
        case: fc.constant("snp" as const),
        value: fc.record({ report: bytes, certificates: fc.array(bytes, { maxLength: 6 }), crl: bytes }),
      }),
      fc.record({
        case: fc.constant("tdx" as const),
        value: fc.record({ quote: bytes, collateral: fc.record({ tcbInfo: bytes, pckCrl: bytes }) }),
      }),
    ),
  }),
  wantsServerEvidence: fc.boolean(),
});

/** A field of a number that our messages do not have, or that they have and of any type. */
const field = fc
  .tuple(fc.nat(40), fc.constantFrom(0, 1, 2, 5), bytes)
  .map(([number, wireType, value]) =>
    Buffer.concat([
      Buffer.from(
        number < 15 ? [(number + 1) * 8 + wireType] : [((number + 1) & 15) * 8 + 0x80 + wireType, (number + 1) >> 4],
      ),
      { 0: Buffer.of(5), 1: Buffer.alloc(8), 2: Buffer.of(value.length), 5: Buffer.alloc(4) }[wireType],
      wireType === 2 ? value : Buffer.alloc(0),
    ]),
  );

/** How many objects a decoded message is made of: what the count has to be an upper bound of. */
function objectsIn(value: unknown): number {
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return 1;
  return Object.entries(value).reduce((sum, [key, inner]) => sum + (key.startsWith("$") ? 0 : objectsIn(inner)), 1);
}

test("what the encoder wrote is decoded as it was", () => {
  fc.assert(
    fc.property(request, (value) => {
      const message = create(SetManifestRequestSchema, value);
      expect(decodeBounded(SetManifestRequestSchema, toBinary(SetManifestRequestSchema, message))).toEqual(message);
    }),
  );
  fc.assert(
    fc.property(hello, (value) => {
      const message = create(ClientHelloSchema, value as never);
      expect(decodeBounded(ClientHelloSchema, toBinary(ClientHelloSchema, message))).toEqual(message);
    }),
  );
});

test("whatever the bytes, it gives what the decoder gives, bounded, or refuses", () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
    fc.array(field, { maxLength: 40 }).map((fields) => Buffer.concat(fields)),
    fc.tuple(hello, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 })).map(([value, changes]) => {
      const encoded = Buffer.from(toBinary(ClientHelloSchema, create(ClientHelloSchema, value as never)));
      for (const [at, byte] of changes) if (encoded.length > 0) encoded[at % encoded.length] = byte;
      return encoded;
    }),
  );
  const most = 12;
  fc.assert(
    fc.property(anything, fc.constantFrom(ClientHelloSchema, SetManifestRequestSchema), (encoded, schema) => {
      let message;
      try {
        message = decodeBounded(schema, encoded, most);
      } catch {
        return;
      }
      // Each field makes an object and what holds it, and a message is there with its empty lists.
      expect(objectsIn(message)).toBeLessThan(12 + most * 4);
      expect(message).toEqual(fromBinary(schema, encoded, { readUnknownFields: false }));
    }),
    { numRuns: 3000 },
  );
});

const unknown = Buffer.of(0x78, 0x00);
test.each([
  ["two-byte fields that nobody knows", Buffer.concat(Array.from({ length: MAX_FIELDS + 1 }, () => unknown))],
  ["policies of zero bytes", Buffer.alloc(2 * (MAX_FIELDS + 1), Buffer.of(0x12, 0x00))],
  ["one message again and again", Buffer.alloc(2 * (MAX_FIELDS + 1), Buffer.of(0x22, 0x00))],
  // The decoder would take the length for a number and go on within the text.
  ["a list behind the wrong type of a known field", Buffer.concat([Buffer.of(0x08, 0x04), Buffer.alloc(4, unknown)])],
  ["a group", Buffer.of(0x7b, 0x7c)],
  ["a length beyond the end", Buffer.of(0x0a, 0x05, 0x00)],
  ["a number without an end", Buffer.alloc(11, 0xff)],
])("%s is refused", (_name, encoded) => {
  expect(() => decodeBounded(SetManifestRequestSchema, encoded)).toThrow(UnboundedMessage);
});

test("16 MiB of two-byte fields are refused in no time and without memory", () => {
  const encoded = Buffer.alloc(16 * 1024 * 1024, unknown);
  const before = process.memoryUsage();
  const begin = process.threadCpuUsage();
  expect(() => decodeBounded(SetManifestRequestSchema, encoded)).toThrow(UnboundedMessage);
  expect(process.threadCpuUsage(begin).user / 1000).toBeLessThan(100);
  expect(process.memoryUsage().heapUsed - before.heapUsed).toBeLessThan(4 * 1024 * 1024);
});

test("all our messages can be bounded", () => {
  for (const file of [file_channel, file_health, file_meshapi, file_userapi]) {
    for (const schema of file.messages) {
      for (const { number } of schema.fields) {
        // Of no type at all: what can't be bounded says so before that.
        expect(() => decodeBounded(schema, Buffer.of(number * 8 + 7))).toThrow(UnboundedMessage);
      }
    }
  }
});
