import { printable } from "../report/print.ts";

/** What is shown of something that takes long, until it ends. */
export interface Progress {
  /** @param what is being done at this moment; may be a stranger's text */
  readonly update: (done: number, total?: number, what?: string) => void;
  readonly end: () => void;
}

/** For whoever shows nothing. */
export const NO_PROGRESS: Progress = { update: () => undefined, end: () => undefined };

/** What takes less time than this is not worth a word. */
const DELAY_MS = 1000;
const REDRAW_MS = 200;
const BAR_WIDTH = 20;

interface Line {
  readonly label: string;
  readonly since: number;
  state: string;
}

/** One line of a terminal, drawn over again and again. Of several things that go on at once, the latest one has it. */
export class StatusLine {
  readonly #terminal: { readonly columns?: number; write(text: string): unknown };
  readonly #now: () => Date;
  readonly #lines = new Set<Line>();
  #timer: NodeJS.Timeout | undefined;
  #isDrawn = false;

  constructor(terminal: { readonly columns?: number; write(text: string): unknown }, now: () => Date) {
    this.#terminal = terminal;
    this.#now = now;
  }

  start(label: string): Progress {
    const line: Line = { label, since: this.#now().getTime(), state: "" };
    this.#lines.add(line);
    this.#timer ??= setInterval(() => this.#draw(), REDRAW_MS).unref();
    return {
      update: (done, total, what = "") => {
        line.state = `${total === undefined ? ` ${done}` : ` ${bar(done, total)} ${done}/${total}`} ${printable(what)}`;
      },
      end: () => {
        this.#lines.delete(line);
        this.clear();
        if (this.#lines.size > 0) return;
        clearInterval(this.#timer);
        this.#timer = undefined;
      },
    };
  }

  /** Before anything else is written to the terminal. */
  clear(): void {
    if (this.#isDrawn) this.#terminal.write("\r\x1b[K");
    this.#isDrawn = false;
  }

  #draw(): void {
    const now = this.#now().getTime();
    const line = [...this.#lines].findLast(({ since }) => now - since >= DELAY_MS);
    if (line === undefined) return;
    const text = `${line.label}${line.state.trimEnd()} (${Math.floor((now - line.since) / 1000)} s)`;
    // A line that wraps can't be taken back.
    this.#terminal.write(`\r${text.slice(0, (this.#terminal.columns ?? 80) - 1)}\x1b[K`);
    this.#isDrawn = true;
  }
}

function bar(done: number, total: number): string {
  const filled = Math.min(BAR_WIDTH, Math.round((BAR_WIDTH * done) / Math.max(1, total)));
  return `[${"=".repeat(filled)}${" ".repeat(BAR_WIDTH - filled)}]`;
}
