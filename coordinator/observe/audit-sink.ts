import { closeSync, constants, openSync, writeSync } from "node:fs";
import { isAbsolute } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { ConfigurationError, Malformed, type Variable } from "../../runtime/environment.ts";
import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";

/** Where the lines of the audit log go. A write never throws and never waits for a reader. */
export interface AuditSink {
  write(line: string): void;
  /** Only of a file: opens it anew, after it was renamed. */
  reopen?(): void;
  close(): Promise<void>;
}

export const auditVariables = {
  CONTRAST_AUDIT_LOG: {
    help: "destination of the audit log: stdout, off, or an absolute path to append to",
    unset: "stdout",
    parse(text) {
      if (text !== "stdout" && text !== "off" && (!isAbsolute(text) || text.includes("\0"))) {
        throw Malformed.text(text, "stdout, off or an absolute path");
      }
      return text;
    },
  } satisfies Variable<string>,
} as const;

/** Of a reader that does not read; then lines are lost instead of memory. In characters. */
const BACKLOG = 1024 * 1024;

/** How long the end of the process waits for such a reader, in milliseconds. */
const CLOSE_MS = 1000;

export interface AuditSinkOptions {
  /** A value of CONTRAST_AUDIT_LOG. */
  readonly destination: string;
  readonly stdout: Writable;
  readonly log: Logger;
  /** Called for every line that is lost. */
  readonly onFailure: () => void;
}

/** @throws ConfigurationError where the file can't be opened */
export function openAuditSink({ destination, stdout, log, onFailure }: AuditSinkOptions): AuditSink {
  if (destination === "off") return { write() {}, async close() {} };
  const losses = new Losses(destination, log, onFailure);
  return destination === "stdout" ? new StreamSink(stdout, losses) : new FileSink(destination, losses);
}

/** Logs when lines begin to be lost and when that ends: a line of the log for each would fill the next disk. */
class Losses {
  readonly #destination: string;
  readonly #log: Logger;
  readonly #onFailure: () => void;
  #lost = 0;

  constructor(destination: string, log: Logger, onFailure: () => void) {
    this.#destination = destination;
    this.#log = log;
    this.#onFailure = onFailure;
  }

  failed(error: unknown): void {
    this.#onFailure();
    if (this.#lost === 0) {
      const fields = { destination: this.#destination, got: describeError(error) };
      this.#log.error(fields, "the audit log can't be written: lines are lost");
    }
    this.#lost += 1;
  }

  written(): void {
    if (this.#lost === 0) return;
    this.#log.error({ destination: this.#destination, lost: this.#lost }, "the audit log is written again");
    this.#lost = 0;
  }
}

/** Standard output: Node never waits for the reader of a pipe, it keeps what can't be written yet. */
class StreamSink implements AuditSink {
  readonly #stream: Writable;
  readonly #losses: Losses;

  constructor(stream: Writable, losses: Losses) {
    this.#stream = stream;
    this.#losses = losses;
    // The callback of each write tells of its error; without a listener it would end the process as well.
    stream.on("error", () => undefined);
  }

  write(line: string): void {
    if (this.#stream.writableLength > BACKLOG) {
      this.#losses.failed(new Error(`nobody has read the last ${BACKLOG} bytes`));
      return;
    }
    this.#stream.write(line, (error) => {
      if (error) this.#losses.failed(error);
      else if (this.#stream.writableLength === 0) this.#losses.written();
    });
  }

  async close(): Promise<void> {
    const written = new Promise<void>((resolve) => this.#stream.write("", () => resolve()));
    await Promise.race([written, delay(CLOSE_MS)]);
  }
}

/** O_NONBLOCK changes nothing for a file; a FIFO that nobody reads is an error instead of a wait. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

class FileSink implements AuditSink {
  readonly #path: string;
  readonly #losses: Losses;
  #file: number;
  #isTorn = false;

  constructor(path: string, losses: Losses) {
    this.#path = path;
    this.#losses = losses;
    try {
      this.#file = openSync(path, APPEND, 0o600);
    } catch (error) {
      const want = "a file that can be appended to";
      throw new ConfigurationError([{ where: "CONTRAST_AUDIT_LOG", got: describeError(error), want }]);
    }
  }

  write(line: string): void {
    // A full disk may have taken half of the line before: only that one is to be lost, not the next one with it.
    const bytes = Buffer.from(this.#isTorn ? `\n${line}` : line);
    try {
      const written = writeSync(this.#file, bytes);
      this.#isTorn = written < bytes.length;
      if (this.#isTorn) throw new Error(`only ${written} of ${bytes.length} bytes could be written`);
      this.#losses.written();
    } catch (error) {
      this.#losses.failed(error);
    }
  }

  reopen(): void {
    try {
      const file = openSync(this.#path, APPEND, 0o600);
      closeSync(this.#file);
      this.#file = file;
      this.#isTorn = false;
    } catch (error) {
      this.#losses.failed(error);
    }
  }

  async close(): Promise<void> {
    closeSync(this.#file);
  }
}
