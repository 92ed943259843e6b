import type { NativeEngine } from "./addon.ts";

/**
 * Looks at the memory that is in use, where the kernel counts the buffers of sockets in, and has connections reset before there
 * is none left: those for which the kernel holds most, at each look those with half as much.
 */
export interface MemoryOptions {
  readonly engine: NativeEngine;
  /** Bytes; undefined: the kernel does not count sockets in. */
  readonly inUse: () => number | undefined;
  /** Of the process, in bytes. */
  readonly limit: number;
}

/** The last eighth is for what comes between two looks. */
const SHARE = 7 / 8;

const INTERVAL_MS = 100;

/** Where it begins, and where there is no use in resetting a connection. */
const MOST = 4 * 2 ** 20;
const LEAST = 64 * 1024;

export function shedWhileScarce({ engine, inUse, limit }: MemoryOptions): void {
  if (inUse() === undefined) return;
  let bytes = MOST;
  const timer = setInterval(() => {
    if ((inUse() ?? 0) <= limit * SHARE) {
      bytes = MOST;
      return;
    }
    try {
      engine.shed(bytes);
    } catch {
      // It has ended.
      clearInterval(timer);
    }
    bytes = Math.max(LEAST, bytes / 2);
  }, INTERVAL_MS).unref();
}
