import type { NativeEngine } from "./addon.ts";

/**
 * Looks at the memory that is in use, where the kernel counts the buffers of sockets in, and has the engine reset connections
 * before there is none left (mesh-proxy/limits/memory-watch.ts does the same on streams).
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

export function shedWhileScarce({ engine, inUse, limit }: MemoryOptions): void {
  if (inUse() === undefined) return;
  const timer = setInterval(() => {
    const excess = (inUse() ?? 0) - limit * SHARE;
    if (excess <= 0) return;
    try {
      engine.shed(excess);
    } catch {
      // It has ended.
      clearInterval(timer);
    }
  }, INTERVAL_MS).unref();
}
