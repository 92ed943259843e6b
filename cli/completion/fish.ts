import { allOf, type CommandModel, type OptionModel } from "./model.ts";

/** For fish 3 and later. */
export function fishScript(model: CommandModel): string {
  const all = allOf(model);
  const valued = all.flatMap(({ options }) => options.filter(({ value }) => value.kind !== "none"));
  const names = new Set(valued.flatMap(({ long, short }) => (short === undefined ? [long] : [long, short])));
  const paths = all.map(({ path }) => path.join(" ")).filter((path) => path !== "");
  return `# Completion of contrast for fish: contrast completion fish | source

# Whether the line has led to these commands.
function __contrast_at
    set -l at
    set -l isValue 0
    for word in (commandline -opc)[2..]
        if test $isValue = 1
            set isValue 0
        else if contains -- $word ${[...names].join(" ")}
            set isValue 1
        else if contains -- (string join ' ' -- $at $word) ${paths.map(quoted).join(" ")}
            set -a at $word
        end
    end
    test "$argv" = "$at"
end

complete -c contrast -f
${all.flatMap(lines).join("\n")}
`;
}

function lines({ path, commands, options, operands }: CommandModel): string[] {
  const at = `complete -c contrast -n ${quoted(`__contrast_at ${path.join(" ")}`.trim())}`;
  const operand = operands.kind === "choice" ? ` -a ${quoted(operands.choices.join(" "))}` : " -F";
  return [
    ...commands.map((command) => `${at} -a ${command.path.at(-1) ?? ""} -d ${quoted(command.summary)}`),
    ...options.map((option) => `${at}${namesOf(option)}${valueOf(option)} -d ${quoted(option.summary)}`),
    ...(operands.kind === "none" ? [] : [`${at}${operand}`]),
  ];
}

function namesOf({ long, short }: OptionModel): string {
  return `${short === undefined ? "" : ` -s ${short.slice(1)}`} -l ${long.slice(2)}`;
}

function valueOf({ value: { kind, choices } }: OptionModel): string {
  if (kind === "none") return "";
  if (kind === "file") return " -r -F";
  if (kind === "choice") return ` -x -a ${quoted(choices.join(" "))}`;
  return kind === "directory" ? " -x -a '(__fish_complete_directories)'" : " -x";
}

function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`;
}
