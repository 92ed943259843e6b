import { CodedError } from "../runtime/errors.ts";
import { code, properties } from "../report/elements.ts";
import { type Html, html } from "../report/html.ts";

/** What the page says when there is no verified deployment. All of it may be a stranger's text. */
export interface Verdict {
  readonly title: string;
  readonly body: Html;
}

/** Nothing answered that could be judged. */
const NO_ANSWER = new Set(["unreachable", "not_ready", "request_refused", "redirected", "unexpected_answer"]);

/** The question can't be asked like this. */
const UNUSABLE = new Set([
  "invalid_option",
  "malformed_json",
  "duplicate_key",
  "invalid_manifest",
  "certificate_too_long",
  "malformed_statement",
]);

export function refusalVerdict(error: unknown): Verdict {
  if (!(error instanceof CodedError)) {
    return {
      title: "Not verified: this page failed",
      body: html`<p class="verdict refused">
        ${error instanceof Error ? error.message : String(error)}. That is a fault of the page, or of the browser.
      </p>`,
    };
  }
  const { message, where, got, want, hint } = error;
  const shown = (text: string | undefined): Html | undefined => (text === undefined ? undefined : code(text));
  return {
    title: titleOf(error.code),
    body: html`<p class="verdict refused">${message}</p>
      ${properties([
        ["Code", code(error.code)],
        ["Where", shown(where)],
        ["Got", shown(got)],
        ["Want", shown(want)],
        ["What to do", hint],
        ["Try again", retryOf(error)],
      ])}`,
  };
}

function titleOf(code: string): string {
  if (NO_ANSWER.has(code)) return "Not verified: there is no answer to judge";
  return UNUSABLE.has(code) ? "Not verified: this can’t be used" : "Not verified: refused";
}

function retryOf(error: object): string | undefined {
  const { retryAfterMs } = error as { readonly retryAfterMs?: unknown };
  if (typeof retryAfterMs !== "number") return undefined;
  return `in ${Math.ceil(retryAfterMs / 1000)} s; nothing is known to be wrong with the deployment`;
}
