import type { Socket } from "node:net";
import { Readable } from "node:stream";
import type { Leg } from "../leg.ts";

/**
 * Tells the end of a TLS connection, its closing alert (RFC 8446 §6.1), from the end of the TCP connection below it. Node
 * reports both as the end of the stream. Who controls the network can send a FIN at any time, and so cut a message short
 * between two records.
 *
 * What Node does not say, libuv does. The end of the stream is reported while the TCP connection is being read. After
 * the alert it still is: to start reading again is refused. After a FIN it is not: libuv has stopped reading. If TLS had
 * stopped reading, no FIN can have come, and it was the alert.
 */

interface Reading {
  /** Whether Node has it read. */
  readonly reading?: boolean;
  /** 0, or what uv_read_start(3) refuses with: UV_EALREADY where it is being read. */
  readStart?(): number;
}

/** From now on a cut is an error of the stream, as if the peer had reset it. @param leg with TLS that is established */
export function failWhereCut({ stream, transport }: Leg): void {
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk !== null || !isCut(stream, transport)) return Readable.prototype.push.call(stream, chunk, encoding);
    stream.destroy(new Error("TCP ended without close_notify"));
    return false;
  };
}

function isCut(stream: Socket, transport: Socket): boolean {
  return handleOf(stream)?.reading === true && handleOf(transport)?.readStart?.() === 0;
}

/** Of Node's internals. Where they are not as expected, every end is a clean one, as Node has it. */
function handleOf(socket: Socket): Reading | undefined {
  return (socket as { _handle?: Reading | null })._handle ?? undefined;
}
