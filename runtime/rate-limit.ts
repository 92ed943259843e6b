/**
 * Keeps repeated events from flooding a log. Anybody who reaches a port can cause as many as they like, and logs are
 * rotated by size: without a limit, a stranger fills the disk or pushes out the lines that tell of them. In a window, each
 * key gets a few lines; the rest is counted by code, and reported once at the end of the window.
 */
export interface RateLimitOptions {
  /** Length of a window, in milliseconds. It begins with the first event. */
  readonly windowMs: number;
  /** Lines of a key in a window. */
  readonly lines: number;
  /** As many keys as are told apart; all others share the key `others`. So a window has at most lines × (keys + 1) lines. */
  readonly keys: number;
  /** Reports what had no line: how many events of each code. */
  readonly onSuppressed: (key: string, codes: Readonly<Record<string, number>>) => void;
  /** Whether a key with suppressed events gets no line in the next window either, but one more report. */
  readonly staysQuiet?: boolean;
}

const OTHERS = "others";

interface Entry {
  lines: number;
  codes: Record<string, number>;
}

export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #entries = new Map<string, Entry>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RateLimitOptions) {
    this.#options = options;
  }

  /**
   * @param code one of a bounded set, not of a peer's choice
   * @returns whether this event gets a line; otherwise it is counted here
   */
  allows(key: string, code: string): boolean {
    const { windowMs, lines } = this.#options;
    this.#timer ??= setTimeout(() => this.close(), windowMs).unref();
    const entry = this.#entry(key);
    if (entry.lines < lines) {
      entry.lines += 1;
      return true;
    }
    entry.codes[code] = (entry.codes[code] ?? 0) + 1;
    return false;
  }

  /** Ends the window, and reports what was suppressed. */
  close(): void {
    const { windowMs, onSuppressed, staysQuiet = false } = this.#options;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, entry] of this.#entries) {
      const isSuppressed = Object.keys(entry.codes).length > 0;
      if (isSuppressed) onSuppressed(key, entry.codes);
      if (isSuppressed && staysQuiet) entry.codes = {};
      else this.#entries.delete(key);
    }
    if (this.#entries.size > 0) this.#timer = setTimeout(() => this.close(), windowMs).unref();
  }

  #entry(wanted: string): Entry {
    const key = this.#entries.has(wanted) || this.#entries.size < this.#options.keys ? wanted : OTHERS;
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry = { lines: 0, codes: {} };
    this.#entries.set(key, entry);
    return entry;
  }
}
