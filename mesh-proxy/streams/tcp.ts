import type { Socket } from "node:net";
import { DEADLINE_MS } from "../limits/numbers.ts";
import { ConnectionFault } from "./fault.ts";

/** What all TCP connections of the proxy have in common. */

/** How much a stream reads while nobody takes what it has: one piece, which is at most 64 KiB, and then no more. */
export const READ_AHEAD = 1;

/** As Node 26 has it; its types don't say so yet. An older one leaves interval and count to the kernel. */
interface Probing {
  setKeepAlive(enable: boolean, initialDelayMs: number, intervalMs: number, count: number): unknown;
}

/**
 * Sets up a TCP connection: small messages don't wait, and a peer that vanished is noticed, after a minute of silence and
 * three probes. No silence is too long for a peer that is there.
 */
export function tuneTransport(transport: Socket): void {
  transport.setNoDelay(true);
  const probing: Probing = transport;
  probing.setKeepAlive(true, 60_000, 10_000, 3);
}

/**
 * For a connection whose peer has ended its direction: whoever closed it looks the same as whoever waits for an answer. The
 * kernel of one that closed it answers no more probes after a minute (tcp_fin_timeout in tcp(7)).
 */
export function probeSooner(transport: Socket): void {
  const probing: Probing = transport;
  probing.setKeepAlive(true, 15_000, 5_000, 3);
}

/** Listens for errors that are dealt with when the connection closes: without a listener they would end the process. */
export const ignore = (): void => {};

/**
 * Waits for `work` for no longer than the deadline and `downstream`, the connection it is done for, live.
 *
 * @throws what `work` throws or `late` makes, or ConnectionFault `client_gone`; the work itself goes on
 */
export async function whileWaited<T>(
  downstream: Socket,
  late: () => ConnectionFault,
  work: Promise<T>,
  deadlineMs: number = DEADLINE_MS,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const giveUp = (): void => reject(new ConnectionFault("client_gone"));
  const timer = setTimeout(() => reject(late()), deadlineMs);
  downstream.on("close", giveUp);
  if (downstream.destroyed) giveUp();
  work.then(resolve, reject);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    downstream.off("close", giveUp);
  }
}
