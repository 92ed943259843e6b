import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Duplex } from "node:stream";
import { ChannelError } from "./error.ts";

/** Messages of the exchange: a length (u32, big endian), then protobuf, at most 1 MiB (design §4). */
export const MAX_MESSAGE = 1024 * 1024;

/**
 * Reads exactly one message. What follows it stays in the socket's buffer: HTTP/2 begins there.
 *
 * @param makeRoom waits until there is room for so many bytes
 * @throws ChannelError `message_too_large` before any of the message is buffered, `malformed_message`, `closed`
 */
export async function readMessage<D extends DescMessage>(
  socket: Duplex,
  schema: D,
  makeRoom?: (length: number) => Promise<void>,
): Promise<MessageShape<D>> {
  const length = (await readExactly(socket, 4)).readUInt32BE();
  if (length > MAX_MESSAGE) {
    throw new ChannelError("message_too_large", "the peer announced too long a message", {
      where: schema.name,
      got: `${length} bytes`,
      want: `at most ${MAX_MESSAGE}`,
    });
  }
  await makeRoom?.(length);
  const bytes = length === 0 ? Buffer.alloc(0) : await readExactly(socket, length);
  try {
    return fromBinary(schema, bytes);
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

function readExactly(socket: Duplex, length: number): Promise<Buffer> {
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
      const bytes: unknown = socket.read(length);
      // At the end of the stream `read` gives what is left, however short.
      if (Buffer.isBuffer(bytes) && bytes.length === length) {
        stop();
        resolve(bytes);
      } else if (bytes !== null) {
        closed();
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
