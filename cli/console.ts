import type { GlobalOptions } from "./commands.ts";
import { NO_PROGRESS, type Progress, StatusLine } from "./progress.ts";

/** What is known of a standard stream. The last three only where it is a terminal. */
export interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  hasColors?(): boolean;
}

export interface Streams {
  readonly stdout: Stream;
  readonly stderr: Stream;
  /** NO_COLOR of https://no-color.org, TERM */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly now: () => Date;
}

const RED = "\x1b[1;31m";
const YELLOW = "\x1b[1;33m";
const BOLD = "\x1b[1m";
const PLAIN = "\x1b[0m";

/**
 * The standard streams as the commands see them: results go to one, talk to the other. Colours and progress are for
 * terminals alone, and no result needs them to be understood.
 */
export class Console {
  readonly #streams: Streams;
  readonly #status: StatusLine;

  constructor(streams: Streams) {
    this.#streams = streams;
    this.#status = new StatusLine(streams.stderr, streams.now);
  }

  readonly out = (text: string): void => {
    this.#status.clear();
    const { stdout } = this.#streams;
    stdout.write(
      this.#isColoured(stdout) ? text.replace(/^((?:result|verified): )(.*)$/m, `$1${BOLD}$2${PLAIN}`) : text,
    );
  };

  /** One line of talk. */
  readonly say = (line: string): void => {
    this.#status.clear();
    const { stderr } = this.#streams;
    const painted = (_: string, place: string, word: string): string =>
      `${place}${word === "error:" ? RED : YELLOW}${word}${PLAIN}`;
    stderr.write(
      `${this.#isColoured(stderr) ? line.replace(/^((?:\S+:\d+:\d+: )?)(error:|warning:)/, painted) : line}\n`,
    );
  };

  /** @param options of this run: who wants JSON or silence wants no progress */
  progress(label: string, options: GlobalOptions): Progress {
    const { stderr, environment } = this.#streams;
    const isQuiet = options.output === "json" || ["warn", "error"].includes(options.logLevel);
    if (isQuiet || stderr.isTTY !== true || environment["TERM"] === "dumb") return NO_PROGRESS;
    return this.#status.start(label);
  }

  /** Before the program ends in the middle of something. */
  clear(): void {
    this.#status.clear();
  }

  #isColoured(stream: Stream): boolean {
    const { NO_COLOR = "" } = this.#streams.environment;
    // What a terminal can do is told by TERM and COLORTERM.
    return NO_COLOR === "" && stream.isTTY === true && stream.hasColors?.() === true;
  }
}
