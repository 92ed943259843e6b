import type { Argument, Command, Option } from "commander";
import { isList, placeholderOf, type ValueKind, valueKind } from "../option-value.ts";

/** What a shell has to know of the command line, read from the commands themselves: nothing can be forgotten. */
export interface CommandModel {
  /** The words that lead here, without the program's name. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly commands: readonly CommandModel[];
  /** The global ones included. */
  readonly options: readonly OptionModel[];
  readonly operands: ValueModel;
}

export interface OptionModel {
  readonly long: string;
  readonly short: string | undefined;
  readonly summary: string;
  readonly value: ValueModel;
  readonly isList: boolean;
}

export interface ValueModel {
  readonly kind: ValueKind;
  /** What it is called, or "". */
  readonly name: string;
  /** Of a choice. */
  readonly choices: readonly string[];
}

const HELP: OptionModel = {
  long: "--help",
  short: undefined,
  summary: "print this help",
  value: { kind: "none", name: "", choices: [] },
  isList: false,
};

export function modelOf(
  command: Command,
  path: readonly string[] = [],
  inherited: readonly Option[] = [],
): CommandModel {
  const options = [...command.options, ...inherited];
  const commands = command.commands.map((inner) => modelOf(inner, [...path, inner.name()], options));
  const [argument] = command.registeredArguments;
  return {
    path,
    summary: command.description(),
    commands,
    options: [...options.map(optionOf), HELP],
    operands: argument === undefined ? HELP.value : operandOf(argument),
  };
}

/** The model of a command and of all below it. */
export function allOf(model: CommandModel): CommandModel[] {
  return [model, ...model.commands.flatMap(allOf)];
}

function optionOf(option: Option): OptionModel {
  return {
    long: option.long ?? "",
    short: option.short,
    summary: option.description.trim(),
    value: { kind: valueKind(option), name: placeholderOf(option) ?? "", choices: option.argChoices ?? [] },
    isList: isList(option),
  };
}

function operandOf(argument: Argument): ValueModel {
  const choices = argument.argChoices ?? [];
  return { kind: choices.length > 0 ? "choice" : "file", name: argument.name(), choices };
}
