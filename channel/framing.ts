import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Duplex } from "node:stream";
import { decodeBounded } from "../api/bounded-message.ts";
import { ChannelError } from "./error.ts";

/**
 * Messages of the exchange: a length (u32, big endian), then protobuf. Evidence of SNP has 6 KiB, evidence of TDX with all
 * that Intel says about the platform about 40. Nothing longer comes from anybody before it is known who he is.
 */
export const MAX_MESSAGE = 128 * 1024;

/** A hello with evidence has about a dozen, one that is refused with all there is to say as many. */
const MAX_FIELDS = 64;

/** A record of TLS has up to 16 KiB (RFC 8446 §5.1). Each costs the same, whatever is in it. */
const RECORD = 16 * 1024;
const MAX_SHORT_RECORDS = 32;

/**
 * Reads exactly one message. What follows it stays in the socket's buffer: HTTP/2 begins there.
 *
 * @throws ChannelError `message_too_large` before any of the message is buffered, `malformed_message`, `closed`
 */
export async function readMessage<D extends DescMessage>(
  socket: Duplex,
  schema: D,
  largest = MAX_MESSAGE,
): Promise<MessageShape<D>> {
  const length = (await readExactly(socket, 4, schema)).readUInt32BE();
  if (length > largest) {
    throw new ChannelError("message_too_large", "the peer announced too long a message", {
      where: schema.name,
      got: `${length} bytes`,
      want: `at most ${largest}`,
    });
  }
  const bytes = await readExactly(socket, length, schema);
  try {
    return decodeBounded(schema, bytes, MAX_FIELDS);
  } catch (cause) {
    throw new ChannelError("malformed_message", "the peer sent bytes that are not the expected message", {
      where: schema.name,
      cause,
    });
  }
}

/** Writes one message. Resolves when the write has completed: HTTP/2 must not be given a socket with one pending. */
export function writeMessage<D extends DescMessage>(
  socket: Duplex,
  schema: D,
  message: MessageShape<D>,
): Promise<void> {
  const bytes = toBinary(schema, message);
  const frame = Buffer.alloc(4 + bytes.length);
  frame.writeUInt32BE(bytes.length);
  frame.set(bytes, 4);
  return new Promise((resolve, reject) => {
    socket.write(frame, (error) => {
      if (error)
        reject(new ChannelError("closed", "the peer closed the connection", { where: schema.name, cause: error }));
      else resolve();
    });
  });
}

/**
 * Takes every piece out of the socket as it comes: left there, each byte that came in a record of its own would be an
 * object of its own.
 */
function readExactly(socket: Duplex, length: number, { name }: DescMessage): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let [filled, pieces] = [0, 0];
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      socket.off("readable", attempt);
      socket.off("end", closed);
      socket.off("close", closed);
      socket.off("error", closed);
    };
    const closed = (cause?: unknown): void => {
      stop();
      // A deadline that this side set ends the connection with its own reason.
      if (cause instanceof ChannelError) reject(cause);
      else
        reject(new ChannelError("closed", "the peer closed the connection in the middle of the exchange", { cause }));
    };
    const attempt = (): void => {
      while (filled < length) {
        const piece = socket.read() as Buffer | null;
        if (piece === null) break;
        const used = piece.copy(bytes, filled);
        filled += used;
        pieces += 1;
        if (used < piece.length) socket.unshift(piece.subarray(used));
      }
      if (filled === length) {
        stop();
        resolve(bytes);
      } else if (pieces > MAX_SHORT_RECORDS + length / RECORD) {
        stop();
        const got = `${filled} bytes in ${pieces} pieces`;
        reject(new ChannelError("malformed_message", "the peer sends a message in crumbs", { where: name, got }));
      }
    };
    socket.on("readable", attempt);
    socket.on("end", closed);
    socket.on("close", closed);
    socket.on("error", closed);
    if (socket.destroyed) closed();
    else attempt();
  });
}
