import { Lexer } from "yaml";

/**
 * Splits YAML into tokens as go-yaml does. The standard, and the library, want every line of a quoted text and of what
 * stands in brackets to be indented deeper than what is around it. go-yaml looks at indentation nowhere between quotes
 * and brackets: only the mark of a document at the start of a line ends them.
 */
export function kubectlLexer(): Lexer {
  const lexer = new Lexer();
  const inner = lexer as unknown as LexerState;
  for (const method of ["parseQuotedScalar", "parseFlowCollection"] as const) {
    const parse = inner[method].bind(lexer);
    inner[method] = function* parseAtAnyIndentation() {
      const { indentNext } = inner;
      // The library's own value for the root of a document, where nothing has to be indented.
      inner.indentNext = 0;
      const next = yield* parse();
      inner.indentNext = indentNext;
      return next;
    };
  }
  return lexer;
}

/** What the library declares private. A test of every form fails if an update changes it. */
interface LexerState {
  /** How many spaces the next line must have at least to belong to what the lexer is in. */
  indentNext: number;
  /** Both return the lexer's next state. */
  parseQuotedScalar: () => Generator<string, unknown>;
  parseFlowCollection: () => Generator<string, unknown>;
}
