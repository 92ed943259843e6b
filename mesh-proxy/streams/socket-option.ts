import type { Server, Socket } from "node:net";
import { numberOf } from "../limits/descriptors.ts";

/**
 * Reads an option of a socket (getsockopt(2)) that Node does not offer.
 *
 * @returns whether the kernel filled `into`, or the first part of it
 */
export type SocketOption = (socket: Socket | Server, level: number, name: number, into: ArrayBufferView) => boolean;

/** @throws where the native module can't be loaded */
export async function loadSocketOption(): Promise<SocketOption> {
  const { load } = await import("koffi");
  const getsockopt = load(null).func("int getsockopt(int fd, int level, int name, void *value, uint32_t *length)");
  const length = new Uint32Array(1);
  return (socket, level, name, into) => {
    const fd = numberOf(socket);
    length[0] = into.byteLength;
    return fd !== undefined && getsockopt(fd, level, name, into, length) === 0;
  };
}
