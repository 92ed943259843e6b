import type { Command, Option } from "commander";
import { endorsementVariables } from "../attestation/endorsements/proxy.ts";
import { type Environment, Malformed, readEnvironment, type Variable } from "../runtime/environment.ts";
import type { GlobalOptions } from "./commands.ts";
import { readConfigFile, type Setting } from "./config-file.ts";
import { faultOf, isList, settableOptions, valueKind, variableName } from "./option-value.ts";
import { requireWorkspace } from "./workspace/workspace.ts";

/**
 * Where the values of options come from: flag > environment > contrast.toml > default. This is done when the flags of
 * the program have been read, and those of the command have not: they will overwrite what is set here.
 */

/** Their own options are flags alone: what softens a verdict, is measured or is replaced has to stand in the command. */
const FLAGS_ALONE = new Set(["evidence", "measure", "manifest", "backup", "restore", "completion", "help"]);

/** The commands whose options the environment and the file may set. */
export function configurableCommands(program: Command): Command[] {
  return program.commands.filter((command) => !FLAGS_ALONE.has(command.name()));
}

/** By the names of the variables. */
export function optionVariables(commands: readonly Command[]): Record<string, Variable<Setting | undefined>> {
  const options = commands.flatMap(settableOptions);
  return Object.fromEntries(options.map((option) => [variableName(option), variableOf(option)]));
}

function variableOf(option: Option): Variable<Setting | undefined> {
  const from = variableName(option);
  return {
    help: option.description,
    unset: undefined,
    parse(text) {
      if (valueKind(option) === "none") {
        if (text !== "1" && text !== "0") throw Malformed.text(text, "1 or 0");
        return { value: text === "1", from };
      }
      const want = faultOf(option, text);
      if (want !== undefined) throw Malformed.text(text, want);
      return { value: isList(option) ? [text] : text, from };
    },
  };
}

/**
 * @returns for each option that is set and not by a flag, as of now: `--coordinator from contrast.toml:3`
 * @throws ConfigurationError, CliError
 */
export async function applySettings(
  program: Command,
  command: Command,
  environment: Environment,
): Promise<() => string[]> {
  const commands = configurableCommands(program);
  const own = commands.includes(command) ? [program, command] : [program];
  const applied: { owner: Command; option: Option; from: string; source: string }[] = [];
  const variables = readEnvironment({ ...endorsementVariables, ...optionVariables(own) }, environment);
  const sourceOf = (owner: Command, option: Option): string | undefined =>
    owner.getOptionValueSource(option.attributeName());
  const apply = (
    settingOf: (owner: Command, option: Option) => Setting | undefined,
    source: "env" | "config",
  ): void => {
    for (const owner of own) {
      for (const option of settableOptions(owner)) {
        const setting = settingOf(owner, option);
        const isSet = ["cli", "env"].includes(sourceOf(owner, option) ?? "");
        if (setting === undefined || isSet) continue;
        owner.setOptionValueWithSource(option.attributeName(), parsed(option, setting), source);
        applied.push({ owner, option, from: setting.from, source });
      }
    }
  };
  apply((_, option) => (variables as Record<string, Setting | undefined>)[variableName(option)], "env");
  const { workspaceDir } = program.opts<GlobalOptions>();
  if (command.name() !== "generate") await requireWorkspace(workspaceDir);
  apply(await readConfigFile(workspaceDir, program, commands), "config");
  return () =>
    applied
      .filter(({ owner, option, source }) => sourceOf(owner, option) === source)
      .map(({ option, from }) => `${option.long ?? ""} from ${from}`);
}

/** As if a flag had said it; a list is frozen, so that the flag begins it anew (see `collect`). */
function parsed(option: Option, { value }: Setting): unknown {
  const parse = (before: unknown, text: string): unknown => option.parseArg?.(text, before) ?? text;
  if (typeof value === "object") return Object.freeze(value.reduce<unknown>(parse, undefined) ?? []);
  if (typeof value === "string") return option.parseArg === undefined ? value : option.parseArg(value, undefined);
  return value || undefined;
}
