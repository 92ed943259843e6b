/** What a refusal says beside its code: where it happened, what was there, what would be right, what to do next. */
export interface Details {
  /** The place: `file:line:column`, a JSON path, a variable, a field of a structure, a peer. */
  readonly where?: string | undefined;
  readonly got?: string | undefined;
  readonly want?: string | undefined;
  /** The next step for the person who reads this. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/**
 * The base of every subsystem's error class. The code is stable: programs and people may rely on it. The message is
 * for people and may change. Nothing secret may enter any part of it.
 */
export class CodedError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly where: string | undefined;
  readonly got: string | undefined;
  readonly want: string | undefined;
  readonly hint: string | undefined;

  constructor(code: Code, message: string, details: Details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.where = details.where;
    this.got = details.got;
    this.want = details.want;
    this.hint = details.hint;
  }

  /** One line: `code: message (at where, got …, want …); hint`. */
  describe(): string {
    const facts = [
      this.where === undefined ? undefined : `at ${this.where}`,
      this.got === undefined ? undefined : `got ${this.got}`,
      this.want === undefined ? undefined : `want ${this.want}`,
    ].filter((fact) => fact !== undefined);
    const place = facts.length > 0 ? ` (${facts.join(", ")})` : "";
    return `${this.code}: ${this.message}${place}${this.hint === undefined ? "" : `; ${this.hint}`}`;
  }
}

/** One line for any thrown thing; what is not ours is shown by its message alone. */
export function describeError(error: unknown): string {
  if (error instanceof CodedError) return error.describe();
  return error instanceof Error ? error.message : String(error);
}
