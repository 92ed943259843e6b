import { allOf, type CommandModel, type OptionModel, type ValueModel } from "./model.ts";

/** For zsh 5 and later: a function for each command, as zshcompsys(1) describes them. */
export function zshScript(model: CommandModel): string {
  return `#compdef contrast
# Completion of contrast for zsh: source <(contrast completion zsh), or as the file _contrast in a folder of $fpath.

${allOf(model).map(functionOf).join("\n")}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _contrast "$@"
else
  compdef _contrast contrast
fi
`;
}

function functionOf(command: CommandModel): string {
  const { commands, options, operands } = command;
  const specs = options.flatMap(optionSpecs);
  if (commands.length === 0) {
    return `${nameOf(command)}() {
  _arguments -s -S ${[...specs, ...operandSpecs(operands)].join(" \\\n    ")}
}
`;
  }
  const rows = commands.map(({ path, summary }) => `    ${quoted(`${path.at(-1) ?? ""}:${summary}`)}`);
  return `${nameOf(command)}() {
  local curcontext="$curcontext" state line ret=1
  typeset -A opt_args
  local -a commands=(
${rows.join("\n")}
  )
  _arguments -C -s -S ${[...specs, "'1: :->command'", "'*:: :->rest'"].join(" \\\n    ")} && ret=0
  case $state in
    command) _describe command commands && ret=0 ;;
    rest) (( $+functions[${nameOf(command)}_$words[1]] )) && ${nameOf(command)}_$words[1] && ret=0 ;;
  esac
  return ret
}
`;
}

function nameOf({ path }: CommandModel): string {
  return ["_contrast", ...path].join("_");
}

/** One for each of its names. */
function optionSpecs({ long, short, summary, value, isList }: OptionModel): string[] {
  const names = short === undefined ? [long] : [long, short];
  const excluded = isList ? "*" : `(${names.join(" ")})`;
  const takesValue = value.kind !== "none";
  return names.map((name) => {
    const form = takesValue ? (name === long ? `${name}=` : `${name}+`) : name;
    const action = takesValue ? `:${escaped(value.name)}:${actionOf(value)}` : "";
    return quoted(`${excluded}${form}[${escaped(summary)}]${action}`);
  });
}

function operandSpecs(value: ValueModel): string[] {
  return value.kind === "none" ? [] : [quoted(`*:${escaped(value.name)}:${actionOf(value)}`)];
}

function actionOf({ kind, choices }: ValueModel): string {
  if (kind === "choice") return `(${choices.join(" ")})`;
  if (kind === "file") return "_files";
  return kind === "directory" ? "_files -/" : " ";
}

function escaped(text: string): string {
  return text.replaceAll(/[[\]:\\]/g, String.raw`\$&`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
