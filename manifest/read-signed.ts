import { type Cursor, MalformedBytes } from "../bytes/cursor.ts";

/** A P-521 key has 158 bytes, a signature with it 139. */
const MOST_BYTES = 256;

/** An owner's key or signature in a record: length u32be ‖ bytes. @throws MalformedBytes */
export function readSigned(cursor: Cursor, field: string): Uint8Array {
  const start = cursor.offset;
  const length = cursor.u32be(`${field}, length`);
  if (length === 0 || length > MOST_BYTES) {
    throw new MalformedBytes(`${field}, length`, start, String(length), `1 to ${MOST_BYTES}`);
  }
  return cursor.bytes(length, field);
}
