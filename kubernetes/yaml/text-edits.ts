/** Replaces `text[start, end)`. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Changes to a text that are made all at once, so that offsets keep their meaning; and its lines. */
export class TextEdits {
  readonly text: string;
  readonly #edits: Edit[] = [];

  constructor(text: string) {
    this.text = text;
  }

  /** The replaced parts must not overlap. */
  replace(start: number, end: number, text: string): void {
    this.#edits.push({ start, end, text });
  }

  /** Lines of their own at the start of a line, or behind a last line that has no end. */
  insertLines(position: number, column: number, lines: readonly string[]): void {
    const eol = this.eol(position);
    const text = lines.map((line) => " ".repeat(column) + line).join(eol);
    const atLineStart = position === 0 || this.text[position - 1] === "\n";
    this.replace(position, position, atLineStart ? text + eol : eol + text);
  }

  /** The changed text; changes at one place come in the order in which they were made. */
  apply(): string {
    const parts: string[] = [];
    let at = 0;
    for (const { start, end, text } of this.#edits.toSorted((a, b) => a.start - b.start)) {
      parts.push(this.text.slice(at, start), text);
      at = Math.max(at, end);
    }
    return [...parts, this.text.slice(at)].join("");
  }

  lineStart(position: number): number {
    return position === 0 ? 0 : this.text.lastIndexOf("\n", position - 1) + 1;
  }

  /** The start of the next line; the position itself where it is the start of a line. */
  afterLine(position: number): number {
    if (this.text[position - 1] === "\n") return position;
    const end = this.text.indexOf("\n", position);
    return end < 0 ? this.text.length : end + 1;
  }

  column(position: number): number {
    return position - this.lineStart(position);
  }

  /** Whether nothing stands before the position on its line. */
  isFirst(position: number): boolean {
    return this.text.slice(this.lineStart(position), position).trim() === "";
  }

  /** The white space with which the line of a position begins. */
  indentation(position: number): string {
    return /^[ \t]*/.exec(this.text.slice(this.lineStart(position), position))?.[0] ?? "";
  }

  /** How the line before a position ends; files that went through many hands have both kinds. */
  eol(position: number): string {
    const before = this.text.lastIndexOf("\n", position - 1);
    const end = before >= 0 && position > 0 ? before : this.text.indexOf("\n");
    return this.text[end - 1] === "\r" ? "\r\n" : "\n";
  }
}
