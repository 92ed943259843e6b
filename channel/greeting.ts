import type { Socket } from "node:net";

/**
 * Reads the first message of a TLS client (RFC 8446 §4.1.2) before there is any TLS. A client that has not said it costs
 * a socket and these bytes; with TLS it would cost thirty times as much, and as many as keep silent would keep others
 * out.
 */

/** A hello with the largest key share in use (X25519MLKEM768) has 1.8 KiB. */
const MAX_BYTES = 8 * 1024;

/** Nobody sends a hello byte by byte. */
const MAX_PIECES = 64;

/** RFC 8446 §5.1 and §4. */
const RECORD = { head: 5, handshake: 22, most: 16 * 1024 } as const;
const MESSAGE = { head: 4, clientHello: 1 } as const;

export interface Greeting {
  /** Gives the bytes back to the socket and reads no more: TLS may begin. */
  hand(): void;
}

/**
 * @param onComplete called once. Whoever says more from then on, before the server has answered, is refused, too
 * @param onRefused called once at most; no further call follows
 * @param onLeft the same, where the client has ended the connection
 */
export function readGreeting(
  socket: Socket,
  onComplete: (greeting: Greeting) => void,
  onRefused: (reason: string) => void,
  onLeft: () => void,
): void {
  let seen = Buffer.alloc(0);
  let pieces = 0;
  let isComplete = false;
  const stop = (): void => {
    socket.off("readable", look);
    socket.off("end", end);
  };
  const refuse = (reason: string): void => {
    stop();
    onRefused(reason);
  };
  const look = (): void => {
    for (let piece = read(socket); piece !== null; piece = read(socket)) {
      pieces += 1;
      if (isComplete) return refuse("it went on before it was answered");
      if (seen.length + piece.length > MAX_BYTES || pieces > MAX_PIECES) return refuse("too long, or in crumbs");
      seen = Buffer.concat([seen, piece]);
      const state = stateOf(seen);
      if (state === "none") return refuse("what came is no TLS");
      if (state === "more") return refuse("it went on before it was answered");
      if (state === "incomplete") continue;
      isComplete = true;
      onComplete({
        hand() {
          stop();
          socket.unshift(seen);
        },
      });
      // It may have been handed over: what is read now is no longer ours.
      return;
    }
  };
  const end = (): void => {
    stop();
    onLeft();
  };
  socket.on("readable", look);
  socket.on("end", end);
}

function read(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}

/** Whether these bytes are one ClientHello, in as many records as its sender likes. */
function stateOf(bytes: Buffer): "incomplete" | "complete" | "more" | "none" {
  const message: Buffer[] = [];
  let offset = 0;
  while (offset + RECORD.head <= bytes.length) {
    const length = bytes.readUInt16BE(offset + 3);
    const isHandshake = bytes[offset] === RECORD.handshake && bytes[offset + 1] === 3;
    if (!isHandshake || length === 0 || length > RECORD.most) return "none";
    message.push(bytes.subarray(offset + RECORD.head, offset + RECORD.head + length));
    offset += RECORD.head + length;
  }
  if (bytes[0] !== RECORD.handshake) return "none";
  const hello = Buffer.concat(message);
  if (hello.length > 0 && hello[0] !== MESSAGE.clientHello) return "none";
  if (hello.length < MESSAGE.head) return "incomplete";
  const missing = MESSAGE.head + hello.readUIntBE(1, 3) - hello.length;
  if (missing > MAX_BYTES) return "none";
  if (missing > 0) return "incomplete";
  return missing === 0 && offset === bytes.length ? "complete" : "more";
}
