import { isAbsolute, join } from "node:path";
import type { Command, Option } from "commander";
import { ConfigurationError, Malformed } from "../runtime/environment.ts";
import { type Fault, oneEditApart, quote } from "../runtime/fault.ts";
import { faultOf, isList, placeholderOf, settableOptions, valueKind } from "./option-value.ts";
import { isTable, parseTomlFile } from "./toml-file.ts";
import { readIfPresent } from "./workspace/workspace.ts";

/**
 * `contrast.toml` of the workspace: what options are where neither a flag nor the environment says otherwise. A key is
 * the long name of an option: at the top for all commands, in a table for one. What is not known is an error, for a
 * misspelt key would silently set nothing.
 */

const CONFIG_FILE = "contrast.toml";

/** An option's value as text, or whether it is set where it takes none, and the place that says so. */
export interface Setting {
  readonly value: boolean | string | readonly string[];
  readonly from: string;
}

/** What the file says about an option of a command, or of the program. */
export type ConfigFile = (command: Command, option: Option) => Setting | undefined;

/** These may stand at the top beside the global options: they mean the same to every command that has them. */
const SHARED = new Set(["coordinator", "manifest"]);

const REFUSED: Readonly<Record<string, string>> = {
  insecure: "--insecure or CONTRAST_INSECURE=1: a file that came with a repository must not switch off attestation",
  "workspace-dir": "--workspace-dir or CONTRAST_WORKSPACE_DIR: the file lies in the workspace",
};

/**
 * @param commands those that have a table
 * @throws ConfigurationError with all that is wrong with the file, CliError unreadable_file
 */
export async function readConfigFile(
  directory: string,
  program: Command,
  commands: readonly Command[],
): Promise<ConfigFile> {
  const path = join(directory, CONFIG_FILE);
  const bytes = await readIfPresent(path, "the configuration file");
  if (bytes === undefined) return () => undefined;
  const { document, placeOf } = parseTomlFile(path, bytes);
  const shared = commands.flatMap(({ options }) => options.filter((option) => SHARED.has(option.name())));
  const settings = new Map<string, Setting>();
  const faults: Fault[] = [];

  const read = (keys: readonly string[], content: unknown, options: readonly Option[]): void => {
    const [key = ""] = keys.slice(-1);
    const from = placeOf(...keys);
    try {
      const option = options.find((option) => option.name() === key);
      if (option === undefined) throw unknownKey(key, options, keys.length === 1 ? commands : []);
      settings.set(keys.join("."), { value: valueOf(option, content, directory), from });
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      faults.push(...error.faults.map((fault) => ({ ...fault, where: from })));
    }
  };
  for (const [key, content] of Object.entries(document)) {
    const command = commands.find((command) => command.name() === key);
    if (command === undefined || !isTable(content)) read([key], content, [...settableOptions(program), ...shared]);
    else for (const [inner, value] of Object.entries(content)) read([key, inner], value, settableOptions(command));
  }
  if (faults.length > 0) throw new ConfigurationError(faults);
  return (command, option) => settings.get(`${command.name()}.${option.name()}`) ?? settings.get(option.name());
}

/** @param commands whose tables may stand where the key stands */
function unknownKey(key: string, options: readonly Option[], commands: readonly Command[]): Malformed {
  const owners = commands.filter(({ options }) => options.some((option) => option.name() === key));
  const names = [...new Set(options.map((option) => option.name())), ...commands.map((command) => command.name())];
  const meant = names.find((name) => oneEditApart(name, key));
  const want =
    owners.length > 0
      ? `it in the table ${owners.map((command) => `[${command.name()}]`).join(" or ")}`
      : (meant ?? `one of ${names.filter((name) => REFUSED[name] === undefined).join(", ")}`);
  return new Malformed([{ where: "", got: `the unknown key ${quote(key)}`, want }]);
}

/** @throws Malformed */
function valueOf(option: Option, content: unknown, directory: string): Setting["value"] {
  const refusal = REFUSED[option.name()];
  if (refusal !== undefined) throw new Malformed([{ where: "", got: `the key ${option.name()}`, want: refusal }]);
  if (valueKind(option) === "none") {
    if (typeof content !== "boolean") throw wrong(content, "true or false");
    return content;
  }
  if (!isList(option)) return textOf(option, content, directory);
  // One needs no brackets where there is a choice: `reference-values = "metal-qemu-snp"`.
  if (option.argChoices !== undefined && typeof content === "string") return [textOf(option, content, directory)];
  if (!Array.isArray(content)) throw wrong(content, "a list of strings in brackets");
  return content.map((item) => textOf(option, item, directory));
}

function textOf(option: Option, content: unknown, directory: string): string {
  const isNumber = placeholderOf(option) === "number";
  const text = isNumber && typeof content === "number" ? String(content) : content;
  if (typeof text !== "string") throw wrong(content, isNumber ? "a number" : "a string in quotes");
  const want = faultOf(option, text);
  if (want !== undefined) throw wrong(content, want);
  const isPath = ["file", "directory"].includes(valueKind(option));
  return isPath && !isAbsolute(text) ? join(directory, text) : text;
}

function wrong(content: unknown, want: string): Malformed {
  const isShown = ["string", "number", "boolean"].includes(typeof content);
  const other = Array.isArray(content) ? "a list" : isTable(content) ? "a table" : "a date";
  return new Malformed([{ where: "", got: isShown ? quote(String(content)) : other, want }]);
}
