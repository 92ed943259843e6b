import type { AuditEvent, Refused } from "./audit-events.ts";

/**
 * Keeps refusals from flooding the audit log. Anybody who reaches a port can be refused as often as he likes, and logs
 * are rotated by size: without a limit, he fills the disk or has the lines that tell of him thrown away. In a window,
 * each address gets a few lines; the rest is counted by code and told in one line at its end.
 */
const LINES_PER_ADDRESS = 5;
/** As many addresses as are told apart; all others share one entry. So a window has at most 6 × 101 lines. */
const ADDRESSES = 100;
const OTHERS = "others";

interface Entry {
  lines: number;
  readonly codes: Record<string, number>;
}

export class RefusalLimit {
  readonly #windowMs: number;
  readonly #tell: (event: AuditEvent) => void;
  readonly #entries = new Map<string, Entry>();
  #timer: NodeJS.Timeout | undefined;

  constructor(windowMs: number, tell: (event: AuditEvent) => void) {
    this.#windowMs = windowMs;
    this.#tell = tell;
  }

  /** @returns whether this refusal gets a line; otherwise it is counted here */
  allows({ peer, code }: Refused): boolean {
    this.#timer ??= setTimeout(() => this.close(), this.#windowMs).unref();
    const entry = this.#entry(peer.slice(0, peer.lastIndexOf(":")));
    if (entry.lines < LINES_PER_ADDRESS) {
      entry.lines += 1;
      return true;
    }
    entry.codes[code] = (entry.codes[code] ?? 0) + 1;
    return false;
  }

  /** Ends the window. The next refusal begins a new one. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [address, { codes }] of this.#entries) {
      if (Object.keys(codes).length > 0) this.#tell({ event: "refusals_suppressed", address, codes });
    }
    this.#entries.clear();
  }

  #entry(address: string): Entry {
    const key = this.#entries.has(address) || this.#entries.size < ADDRESSES ? address : OTHERS;
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry = { lines: 0, codes: {} };
    this.#entries.set(key, entry);
    return entry;
  }
}
