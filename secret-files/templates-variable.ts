import { isSecretName, WANT_SECRET_NAME } from "../manifest/annex-names.ts";
import { Malformed, type Variable } from "../runtime/environment.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { parseTemplate, secretsOf, type Template } from "./template.ts";

/** The templates of a pod, by the names of the files that they become. `generate` prints them, the Initializer reads them. */

export const SECRET_TEMPLATES = "CONTRAST_SECRET_TEMPLATES";

/** The same for each pod. */
const MOST_TEMPLATES = 16;
const LARGEST_TEXT = 48 * 1024;

/**
 * A JSON object of texts. A dollar is escaped: the kubelet expands `$(NAME)` in the values of variables
 * (https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/), and a
 * configuration file may mean it.
 */
export function printTemplates(texts: Readonly<Record<string, string>>): string {
  return JSON.stringify(texts).replaceAll("$", "\\u0024");
}

export const secretTemplates: Variable<ReadonlyMap<string, Template>> = {
  help: "files to make of secrets: JSON of their names and templates (default: none)",
  unset: new Map(),
  parse(text) {
    const texts = readTexts(text);
    const faults = templateFaults(texts).map(({ file, where, got, want }) => {
      return { where: [file, where].filter((part) => part !== "").join(", "), got, want };
    });
    if (faults.length > 0) throw new Malformed(faults);
    return new Map(Object.entries(texts).map(([file, template]) => [file, parseTemplate(template)]));
  },
};

/** What is wrong with a template; `where` is a place in it. */
export interface TemplateFault extends Fault {
  /** Empty: all of them together are too many, or too much. */
  readonly file: string;
}

/** What is wrong with the templates of a pod. */
export function templateFaults(texts: Readonly<Record<string, string>>): readonly TemplateFault[] {
  const used = new Set<string>();
  const own = Object.entries(texts).flatMap(([file, text]) => faultsOf(file, text, used));
  const clashes = Object.keys(texts).filter((file) => used.has(file));
  return [
    ...tooMuch(texts),
    ...own,
    ...clashes.map((file): TemplateFault => {
      const got = `${quote(file)}, which is the name of a secret of the pod, too`;
      return { file, where: "", got, want: "another name: both are files of one folder" };
    }),
  ];
}

/** @param used the names of the secrets are added here */
function faultsOf(file: string, text: string, used: Set<string>): TemplateFault[] {
  const faults: TemplateFault[] = [];
  if (!isSecretName(file))
    faults.push({ file, where: "", got: quote(file), want: `a file's name: ${WANT_SECRET_NAME}` });
  try {
    for (const secret of secretsOf(parseTemplate(text))) used.add(secret);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    faults.push(...error.faults.map((fault) => ({ ...fault, file })));
  }
  return faults;
}

function tooMuch(texts: Readonly<Record<string, string>>): TemplateFault[] {
  const count = Object.keys(texts).length;
  if (count > MOST_TEMPLATES) {
    return [{ file: "", where: "", got: `${count} templates`, want: `at most ${MOST_TEMPLATES}` }];
  }
  const size = Buffer.byteLength(printTemplates(texts));
  if (size <= LARGEST_TEXT) return [];
  return [
    { file: "", where: "", got: `templates of ${size} bytes together, as JSON`, want: `at most ${LARGEST_TEXT}` },
  ];
}

function readTexts(text: string): Readonly<Record<string, string>> {
  const wanted = '{"FILE":"TEMPLATE"}';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw Malformed.text(text, wanted);
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject || Object.values(value as object).some((template) => typeof template !== "string")) {
    throw Malformed.text(text, wanted);
  }
  return value as Readonly<Record<string, string>>;
}
