import fc from "fast-check";
import { expect, test } from "vitest";
import { clientHello } from "../../../test/client-hello.ts";
import { hasFirstMessage, recordLength, wholeRecords } from "./records.ts";

function record(type: number, fragment: Buffer): Buffer {
  const header = Buffer.from([type, 3, 3, 0, 0]);
  header.writeUInt16BE(fragment.length, 3);
  return Buffer.concat([header, fragment]);
}

/** A handshake message in records with fragments of so many bytes. */
function inPieces(message: Buffer, each: number): Buffer {
  const fragments: Buffer[] = [];
  for (let at = 0; at < message.length; at += each) fragments.push(record(22, message.subarray(at, at + each)));
  return Buffer.concat(fragments);
}

test("a first message is there with its last byte, in however many records", async () => {
  const hello = await clientHello();
  const message = hello.subarray(5);
  for (const bytes of [hello, inPieces(message, 1), inPieces(message, 3), inPieces(message, 500)]) {
    expect(hasFirstMessage(bytes)).toBe(true);
    for (const length of [0, 1, 4, 5, 6, 9, 12, bytes.length - 1]) {
      expect(hasFirstMessage(bytes.subarray(0, length))).toBe(false);
    }
  }
});

test("what is no handshake is for TLS to refuse, at once", () => {
  for (const text of ["GET / HTTP/1.1\r\n", "\0", "SSH-2.0-x"]) expect(hasFirstMessage(Buffer.from(text))).toBe(true);
  expect(hasFirstMessage(record(23, Buffer.alloc(3)))).toBe(true);
});

test("records are whole or wait", () => {
  const one = record(22, Buffer.alloc(100));
  const other = record(23, Buffer.alloc(50));
  const both = Buffer.concat([one, other]);
  expect(recordLength(both, 0)).toBe(one.length);
  expect(recordLength(both, one.length)).toBe(other.length);
  expect(wholeRecords(both, 1_000)).toBe(both.length);
  expect(wholeRecords(both, both.length - 1)).toBe(one.length);
  expect(wholeRecords(both.subarray(0, both.length - 1), 1_000)).toBe(one.length);
  expect(wholeRecords(both, one.length - 1)).toBe(0);
});

test("whatever comes, no more is taken than is there and may be, and it ends", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(400), (bytes, most) => {
      const buffer = Buffer.from(bytes);
      expect(wholeRecords(buffer, most)).toBeLessThanOrEqual(Math.min(buffer.length, most));
      hasFirstMessage(buffer);
    }),
  );
});
