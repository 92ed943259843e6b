import type { Duplex } from "node:stream";
import { ChannelError } from "./error.ts";

/**
 * Works for a peer as long as it is there. When its connection ends, or a deadline destroys it, this fails at once, and
 * `abandoned` fires so that the work can end, too: nobody waits for its result. It is the peer's turn to listen: one who
 * goes on talking would have what it says kept.
 *
 * @throws ChannelError `closed`, `malformed_message`, or the one that the connection was destroyed with
 */
export async function whileConnected<T>(socket: Duplex, work: (abandoned: AbortSignal) => Promise<T>): Promise<T> {
  const abandoned = new AbortController();
  const left = new Promise<never>((_resolve, reject) => {
    abandoned.signal.addEventListener("abort", () => reject(abandoned.signal.reason as Error));
  });
  const gone = (cause?: unknown): void => {
    const closed = (): ChannelError => new ChannelError("closed", "the peer did not wait for the answer", { cause });
    abandoned.abort(cause instanceof ChannelError ? cause : closed());
  };
  const look = (): void => {
    // A stream tells its end only to those who read.
    socket.read(0);
    if (socket.readableLength === 0) return;
    abandoned.abort(new ChannelError("malformed_message", "the peer goes on before it is answered"));
  };
  socket.on("readable", look).on("end", gone).on("error", gone).on("close", gone);
  try {
    if (socket.destroyed) gone();
    else look();
    return await Promise.race([left, work(abandoned.signal)]);
  } finally {
    socket.off("readable", look).off("end", gone).off("error", gone).off("close", gone);
  }
}
