import { destination, pino, type Logger } from "pino";
import { oneOf } from "./variables.ts";

export type { Logger } from "pino";

export const logVariables = {
  CONTRAST_LOG_LEVEL: oneOf(["debug", "info", "warn", "error"], "info", "the lowest level to log"),
  CONTRAST_LOG_FORMAT: oneOf(["auto", "json", "pretty"], "auto", "auto: pretty on a terminal, json elsewhere"),
} as const;

export interface LogOptions {
  readonly program: string;
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "auto" | "json" | "pretty";
  readonly isTerminal: boolean;
  readonly colour: boolean;
  /** The reason why nothing this program says may be relied on; stands in every line. */
  readonly insecure?: string | undefined;
}

/**
 * A logger that writes to standard error, synchronously: the last line before an exit is the one that matters.
 *
 * @param sink in place of standard error
 */
export function createLogger(
  options: LogOptions,
  sink: { write(line: string): unknown } = destination({ dest: 2, sync: true }),
): Logger {
  const pretty = options.format === "pretty" || (options.format === "auto" && options.isTerminal);
  return pino(
    {
      level: options.level,
      base: { program: options.program, ...(options.insecure === undefined ? {} : { insecure: options.insecure }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => void sink.write(pretty ? prettyLine(line, options.colour) : line) },
  );
}

/** What `createLogger` puts into every line. */
interface Line extends Readonly<Record<string, unknown>> {
  readonly level: string;
  readonly time: string;
  readonly program: string;
  readonly insecure?: string;
  readonly msg: string;
}

const COLOURS: Readonly<Record<string, string>> = { debug: "2", info: "32", warn: "33", error: "31", fatal: "31" };

/** A line of JSON as a person reads it: time, level, program, message, then the rest as key=value. */
export function prettyLine(json: string, colour: boolean): string {
  const { level, time, program, insecure, msg, ...rest } = JSON.parse(json) as Line;
  const paint = (text: string, code: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const fields = Object.entries(rest).map(([key, value]) => {
    const text = typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
    return ` ${paint(`${key}=`, "2")}${visible(text)}`;
  });
  const warning = insecure === undefined ? "" : ` ${paint(`[INSECURE: ${insecure}]`, "33")}`;
  const label = paint(level.toUpperCase().padEnd(5), COLOURS[level] ?? "0");
  return `${time.slice(11, 23)} ${label} ${program}${warning} ${visible(msg)}${fields.join("")}\n`;
}

/** Whoever made the text can't make a second line of it, nor move the cursor of a terminal. */
function visible(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
