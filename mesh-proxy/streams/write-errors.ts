import type { Socket } from "node:net";

/**
 * Node destroys a socket that can't be written to, and with it what its peer said before and nobody has read yet: the answer
 * of a server, for one, that refuses an upload and closes. So the socket does not hear of it, and takes what is written to it
 * as before. This replaces `_write`, which is how a stream is implemented; nothing else comes before the socket's own end.
 */
export function onWriteError(transport: Socket, refused: (error: Error) => void): void {
  const write = transport._write.bind(transport);
  transport._write = (bytes: Buffer, encoding, written) =>
    write(bytes, encoding, (error) => {
      if (error !== undefined && error !== null) refused(error);
      written();
    });
}
