import { Malformed, type Variable } from "../runtime/environment.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { isSecretName, WANT_NAME } from "./names.ts";
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
    const faults = templateFaults(texts);
    if (faults.length > 0) throw new Malformed(faults);
    return new Map(Object.entries(texts).map(([file, template]) => [file, parseTemplate(template)]));
  },
};

/** What is wrong with the templates of a pod; `where` is the name of the file, and a place in it. */
export function templateFaults(texts: Readonly<Record<string, string>>): readonly Fault[] {
  const files = Object.keys(texts);
  const size = Buffer.byteLength(printTemplates(texts));
  const all: Fault[] = [
    ...(files.length > MOST_TEMPLATES
      ? [{ where: "", got: `${files.length} templates`, want: `at most ${MOST_TEMPLATES}` }]
      : []),
    ...(size > LARGEST_TEXT
      ? [{ where: "", got: `templates of ${size} bytes together, as JSON`, want: `at most ${LARGEST_TEXT}` }]
      : []),
  ];
  const used = new Set<string>();
  for (const [file, text] of Object.entries(texts)) {
    if (!isSecretName(file)) all.push({ where: file, got: quote(file), want: `a file's name: ${WANT_NAME}` });
    try {
      for (const secret of secretsOf(parseTemplate(text))) used.add(secret);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      for (const fault of error.faults) {
        all.push({ ...fault, where: fault.where === "" ? file : `${file}, ${fault.where}` });
      }
    }
  }
  for (const file of files.filter((name) => used.has(name))) {
    const want = "a name that no secret of the pod has: both are files of one folder";
    all.push({ where: file, got: `the name of the secret ${quote(file)}`, want });
  }
  return all;
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
