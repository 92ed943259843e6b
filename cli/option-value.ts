import { type Command, InvalidArgumentError, Option } from "commander";

/** What the value of an option is, told by its placeholder: `--manifest <file>`. */
export type ValueKind =
  /** The option takes none. */
  "none" | "choice" | "file" | "directory" | "text";

const FILES = new Set(["file", "report", "cert", "auxblob", "pem", "der", "quote", "json"]);
const TEXTS = new Set([
  "host:port",
  "host:port|url",
  "hex",
  "name",
  "number",
  "text",
  "time",
  "group/Kind=path",
  "url",
  "host=url",
  "from=to",
  "hosts",
]);

export function valueKind(option: Option): ValueKind {
  const placeholder = placeholderOf(option);
  if (placeholder === undefined) return "none";
  if (option.argChoices !== undefined) return "choice";
  if (placeholder === "dir") return "directory";
  if (FILES.has(placeholder)) return "file";
  if (TEXTS.has(placeholder)) return "text";
  throw new Error(`the placeholder of ${option.flags} says nothing about its value`);
}

export function placeholderOf(option: Option): string | undefined {
  return /<(.+?)(?:\.\.\.)?>/.exec(option.flags)?.[1];
}

/** An option that only a flag sets: what it says has to stand in the command itself. */
export class FlagAlone extends Option {}

/** Those whose values may come from elsewhere than a flag. */
export function settableOptions({ options }: Command): Option[] {
  return options.filter((option) => option.name() !== "version" && !(option instanceof FlagAlone));
}

/** Whether it may stand several times. */
export function isList(option: Option): boolean {
  return option.description.endsWith("(repeatable)");
}

/** The variable of the environment that stands in for the option. */
export function variableName(option: Option): string {
  return `CONTRAST_${option.name().toUpperCase().replaceAll("-", "_")}`;
}

/** @returns what would be right, where the text is not a value of the option */
export function faultOf(option: Option, text: string): string | undefined {
  if (text === "") return `a ${placeholderOf(option) ?? "value"}`;
  try {
    option.parseArg?.(text, undefined);
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return option.argChoices?.join(" or ") ?? error.message.replace(/^Want /, "").replace(/\.$/, "");
  }
}
