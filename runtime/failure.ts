import { ConfigurationError } from "./environment.ts";
import { CodedError } from "./errors.ts";
import type { Fault } from "./fault.ts";
import type { Logger } from "./log.ts";

/**
 * The last line of a program that fails: one line, with a stable code and the next step. With
 * `terminationMessagePolicy: FallbackToLogsOnError` a kubelet shows the end of the log, 2048 bytes or 80 lines of it
 * (pkg/kubelet/kuberuntime), so that the line has to be shorter than that, whatever it is about.
 */

/** Of the text as JSON; the other fields of a line take less than 300. */
const MOST_BYTES = 1_600;
const MOST_HINT = 500;
const MOST_FAULT_BYTES = 1_200;
/** Lines before the last one, with a fault each, where not all have room in it. */
const MOST_FAULT_LINES = 50;
/** Of each other part, as long as they have to be shorter. */
const MOST_PART = [1_250, 600, 300, 150, 75, 35];

/** Frames of a stack, which stand in a line before. */
const FRAMES = 12;

/**
 * Writes the last line. Before it stand the stack of what is no refusal but a fault of the program, and what is wrong with
 * a configuration where that is more than one line holds.
 */
export function logFailure(log: Logger, error: unknown): void {
  const failure = describeFailure(error);
  if (failure.code === "internal" && error instanceof Error && error.stack !== undefined) {
    const stack = error.stack.split("\n").slice(1, 1 + FRAMES);
    log.error({ code: failure.code, stack: stack.map((line) => line.trim()) }, "where the program failed");
  }
  if (error instanceof ConfigurationError && fitting(error.faults.map(lineOf)) < error.faults.length) {
    for (const fault of error.faults.slice(0, MOST_FAULT_LINES)) log.error({ code: failure.code }, lineOf(fault));
  }
  log.fatal({ code: failure.code }, failure.text);
}

export interface Failure {
  /** Of ours, or `system`: the operating system refused something; `internal`: a fault of the program. */
  readonly code: string;
  /** `code: message (at where, got …, want …); next step`, without line breaks. */
  readonly text: string;
}

export function describeFailure(error: unknown): Failure {
  const coded = codedOf(error);
  for (const most of MOST_PART) {
    const text = shortened(coded, most).describe();
    if (Buffer.byteLength(JSON.stringify(text)) <= MOST_BYTES) return { code: coded.code, text };
  }
  return { code: coded.code, text: `${coded.code}; ${cut(coded.hint ?? "", 100)}` };
}

function codedOf(error: unknown): CodedError {
  if (error instanceof ConfigurationError) return configuration(error);
  if (error instanceof CodedError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const isOfSystem = error instanceof Error && "syscall" in error && "errno" in error;
  return isOfSystem
    ? new CodedError("system", "the operating system refused", {
        got: message,
        hint: "make what it names available to this program: the file, the address, the memory or the permission",
      })
    : new CodedError("internal", message, { hint: "this is a fault of the program: report it with the line before" });
}

/** Each fault by itself is short; there may be many. */
function configuration({ code, faults }: ConfigurationError): CodedError {
  const lines = faults.map(lineOf);
  const told = fitting(lines);
  const count = lines.length === 1 ? "1 fault" : `${lines.length} faults`;
  const some = told < lines.length ? `${count}, the first ${told}` : count;
  return new CodedError(code, `${some}: ${lines.slice(0, told).join("; ")}`, {
    hint: "correct these variables of the container and start it again",
  });
}

function lineOf({ where, got, want }: Fault): string {
  return `${cut(where, 120)}: got ${cut(got, 120)}, want ${cut(want, 120)}`;
}

/** @returns how many lines have room, at least one */
function fitting(lines: readonly string[]): number {
  let count = 1;
  const bytes = (some: number): number => Buffer.byteLength(JSON.stringify(lines.slice(0, some).join("; ")));
  while (count < lines.length && bytes(count + 1) <= MOST_FAULT_BYTES) count++;
  return count;
}

function shortened(error: CodedError, most: number): CodedError {
  const part = (text: string | undefined): string | undefined => (text === undefined ? undefined : cut(text, most));
  return new CodedError(error.code, cut(error.message, most), {
    where: part(error.where),
    got: part(error.got),
    want: part(error.want),
    hint: cut(error.hint ?? "see this code in the documentation", MOST_HINT),
  });
}

/** At most so many letters, without line breaks and what else would move a terminal's cursor. */
function cut(text: string, most: number): string {
  const part = (text.length <= most ? text : text.slice(0, most - 1)).toWellFormed();
  const line = part.replaceAll(/\s*\n\s*/g, "; ").replaceAll(/\p{Cc}/gu, " ");
  return part.length < text.length ? `${line}…` : line;
}
