import { find } from "./find.ts";
import { watchForm } from "./form.ts";
import { fragmentOf } from "./insert.ts";
import { InputProblem, type Question } from "./question.ts";
import { describeError } from "../runtime/errors.ts";
import { printable } from "../report/print.ts";
import { refusalVerdict, type Verdict } from "./verdict.ts";

/** What was found, to be shown and kept. */
export interface Finding extends Verdict {
  /** Files that a person may keep, by name. */
  readonly files: Readonly<Record<string, KeptFile>>;
}

/** Makes its content when it is wanted. */
export type KeptFile = () => Promise<Uint8Array>;

export interface PageParts {
  /** @param say is told how far it is @throws what is refused */
  readonly verify: (question: Question, signal: AbortSignal, say: (progress: string) => void) => Promise<Finding>;
  /** Of a file: its size and its digest, for people. */
  readonly describe: (bytes: Uint8Array) => Promise<string>;
}

const TITLE = document.title;

/**
 * The page at work: one question at a time. An answer is shown as long as the question stands as it was asked; whoever changes
 * a field sees no verdict about something else.
 */
export function startPage({ verify, describe }: PageParts): void {
  const obstacle = obstacleOf();
  if (obstacle !== undefined) {
    const element = find("obstacle", HTMLElement);
    element.textContent = obstacle;
    element.hidden = false;
    return;
  }
  const [form, progress] = [find("question", HTMLFormElement), find("progress", HTMLElement)];
  const [begin, stop] = [find("verify", HTMLButtonElement), find("stop", HTMLButtonElement)];
  /** Of the question that is asked, or whose answer is shown: what it asks for ends with it. */
  let asked: AbortController | undefined;
  let isRunning = false;

  const setRunning = (value: boolean): void => {
    isRunning = value;
    // The focus must not vanish with the button, nor with one that is `disabled`.
    if (!value && document.activeElement === stop) begin.focus();
    begin.setAttribute("aria-disabled", String(value));
    stop.hidden = !value;
  };
  const end = (said: string): void => {
    asked?.abort();
    asked = undefined;
    setRunning(false);
    progress.textContent = said;
  };
  const forget = (): void => {
    end(isRunning ? "Stopped: the question has changed." : "");
    showProblem(undefined);
    hideResult();
  };
  const watched = watchForm(describe, forget);

  const ask = async (question: Question): Promise<void> => {
    const run = new AbortController();
    asked = run;
    setRunning(true);
    const say = (text: string): void => {
      if (asked === run && isRunning && progress.textContent !== text) progress.textContent = text;
    };
    const outcome = await verify(question, run.signal, say).catch((error: unknown) => refusalVerdict(error));
    if (asked !== run) return;
    setRunning(false);
    progress.textContent = "";
    showResult(outcome);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isRunning) return;
    forget();
    try {
      void ask(watched.read());
    } catch (error) {
      if (!(error instanceof InputProblem)) throw error;
      showProblem(error);
    }
  });
  stop.addEventListener("click", () => {
    end("Stopped.");
  });
  setRunning(false);
  form.hidden = false;
}

/** Why the page can't be used here. */
function obstacleOf(): string | undefined {
  if (window.top !== window.self) {
    return "Another page shows this one inside of itself, and could lay something over the verdict. Open it by itself.";
  }
  if (!isSecureContext || crypto.subtle === undefined) {
    return "This browser has no cryptography for a page from this address. Open it over https, from this machine, or as a file.";
  }
  return undefined;
}

/** Beside the button, where who pressed it is; the field is marked, and gets the focus. */
function showProblem(problem: InputProblem | undefined): void {
  const element = find("problem", HTMLElement);
  element.textContent = problem?.message ?? "";
  element.hidden = problem === undefined;
  for (const marked of document.querySelectorAll("[aria-invalid]")) {
    marked.removeAttribute("aria-invalid");
    marked.removeAttribute("aria-errormessage");
  }
  if (problem === undefined) return;
  const field = find(problem.field, HTMLInputElement);
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-errormessage", "problem");
  field.closest("details")?.setAttribute("open", "");
  field.focus();
}

function hideResult(): void {
  document.title = TITLE;
  find("result", HTMLElement).hidden = true;
  find("findings", HTMLElement).replaceChildren();
  find("keep", HTMLElement).replaceChildren();
  find("kept", HTMLElement).textContent = "";
}

function showResult({ title, body, ...others }: Verdict | Finding): void {
  find("findings", HTMLElement).replaceChildren(fragmentOf(body));
  const files = "files" in others ? Object.entries(others.files) : [];
  find("keep", HTMLElement).replaceChildren(...files.map(([name, content]) => saveButton(name, content)));
  const heading = find("result-title", HTMLHeadingElement);
  heading.textContent = title;
  find("result", HTMLElement).hidden = false;
  document.title = `${title} – ${TITLE}`;
  // A screen reader reads it, and the keyboard goes on from here.
  heading.focus();
}

function saveButton(name: string, content: KeptFile): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `Save ${name}`;
  button.addEventListener("click", () => void save(name, content));
  return button;
}

/** The focus stays where it is, and what goes wrong is said where the progress is. */
async function save(name: string, content: KeptFile): Promise<void> {
  const progress = find("kept", HTMLElement);
  progress.textContent = `Making ${name} …`;
  try {
    // A type that no browser opens as a page of this origin.
    const url = URL.createObjectURL(new Blob([new Uint8Array(await content())], { type: "application/octet-stream" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    URL.revokeObjectURL(url);
    progress.textContent = `Saved ${name}.`;
  } catch (error) {
    progress.textContent = `Not saved: ${printable(describeError(error))}`;
  }
}
