import { getDefaultHighWaterMark, setDefaultHighWaterMark } from "node:stream";

/**
 * How much a stream of the proxy reads while nobody takes what it has: one piece, and then no more. By default it would be
 * 64 KiB, which a peer can send in pieces of one byte, and each of them costs Node some hundred.
 */
export const READ_AHEAD = 1;

/** The longest piece: libuv reads no more at once. */
export const LONGEST_PIECE = 64 * 1024;

/** Of TLS a piece is a record (RFC 8446 §5.1); those that libuv has read at once are decrypted together. */
export const LONGEST_RECORD = 16 * 1024;

/** For a socket that Node has no option for. @param make makes it, and nothing else, before it returns */
export function withoutReadAhead<T>(make: () => T): T {
  const before = getDefaultHighWaterMark(false);
  setDefaultHighWaterMark(false, READ_AHEAD);
  try {
    return make();
  } finally {
    setDefaultHighWaterMark(false, before);
  }
}
