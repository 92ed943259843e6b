/** The outer form of TLS (RFC 8446 §5.1), which is the same before and after encryption: type, version, length, fragment. */

const HEADER = 5;
/** From change_cipher_spec to application_data. */
const TYPES = { first: 20, last: 23 } as const;
const HANDSHAKE = 22;
/** RFC 8446 §4: type and length of a handshake message. */
const MESSAGE_HEADER = 4;

/**
 * @returns the length of the record that begins at `at`, with its header; undefined: its header is not all there. What is
 *   no TLS is one record, whatever it is: TLS is the one to refuse it
 */
export function recordLength(bytes: Buffer, at: number): number | undefined {
  const type = bytes[at];
  const version = bytes[at + 1];
  if (type !== undefined && (type < TYPES.first || type > TYPES.last)) return bytes.length - at;
  if (version !== undefined && version !== 3) return bytes.length - at;
  return at + HEADER > bytes.length ? undefined : HEADER + bytes.readUInt16BE(at + 3);
}

/** @returns how many of the bytes, of no more than so many, are whole records */
export function wholeRecords(bytes: Buffer, most: number): number {
  for (let end = 0; ;) {
    const length = recordLength(bytes, end);
    if (length === undefined || end + length > Math.min(bytes.length, most)) return end;
    end += length;
  }
}

/**
 * Whether the first message of a client is all there, in however many records (RFC 8446 §5.1). What can't be one is: TLS is
 * the one to refuse it.
 */
export function hasFirstMessage(bytes: Buffer): boolean {
  const header: number[] = [];
  let message = 0;
  for (let at = 0; ;) {
    const length = recordLength(bytes, at);
    if (length === undefined || at + length > bytes.length) return false;
    if (bytes[at] !== HANDSHAKE) return true;
    const fragment = bytes.subarray(at + HEADER, at + length);
    header.push(...fragment.subarray(0, MESSAGE_HEADER - Math.min(MESSAGE_HEADER, header.length)));
    message += fragment.length;
    const [, high = 0, middle = 0, low = 0] = header;
    if (message >= MESSAGE_HEADER && message >= MESSAGE_HEADER + ((high << 16) | (middle << 8) | low)) return true;
    at += length;
  }
}
