import { allOf, type CommandModel, type ValueModel } from "./model.ts";

/**
 * For bash 3.2 and later, without the package bash-completion. Where a file belongs, no reply is given and readline
 * completes it: it knows how to quote.
 */
export function bashScript(model: CommandModel): string {
  const all = allOf(model);
  return `# Completion of contrast for bash: source <(contrast completion bash)

# Sets commands, options and operands: what may follow these commands.
_contrast_at() {
  case "$1" in
${all.map(atLine).join("\n")}
  esac
}

# Sets kind: what the value of an option is, empty where it takes none.
_contrast_kind() {
  case "$1 $2" in
${all.flatMap(kindLines).join("\n")}
    *) kind="" ;;
  esac
}

_contrast() {
  local line="\${COMP_LINE:0:COMP_POINT}" at="" kind="" ended="" commands options operands word words current i
  # Readline's own words are split at = and : as well.
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  current="\${words[\${#words[@]} - 1]}"
  _contrast_at ""
  for ((i = 1; i < \${#words[@]} - 1; i++)); do
    word="\${words[i]}"
    if [[ -n $kind ]]; then
      kind=""
    elif [[ $word == -- ]]; then
      ended=1
      break
    elif [[ $word == -* ]]; then
      [[ $word == *=* ]] || _contrast_kind "$at" "$word"
    elif [[ " $commands " == *" $word "* ]]; then
      at="\${at:+$at }$word"
      _contrast_at "$at"
    fi
  done
  if [[ -z $kind && -z $ended && $current == --*=* ]]; then
    _contrast_kind "$at" "\${current%%=*}"
    current="\${current#*=}"
  elif [[ -z $kind && -z $ended && $current == -* ]]; then
    kind="choice $options"
  elif [[ -z $kind ]]; then
    kind="\${commands:+choice $commands}"
    kind="\${kind:-$operands}"
  fi

  COMPREPLY=()
  case "$kind" in
    file) ;;
    directory) compopt -o dirnames 2>/dev/null ;;
    *)
      compopt +o default 2>/dev/null
      [[ $kind == "choice "* ]] && COMPREPLY=($(compgen -W "\${kind#choice }" -- "$current"))
      ;;
  esac
  return 0
}

complete -o default -F _contrast contrast
`;
}

function atLine({ path, commands, options, operands }: CommandModel): string {
  const names = options.flatMap(({ long, short }) => (short === undefined ? [long] : [long, short]));
  return `    "${path.join(" ")}")
      commands="${commands.map((command) => command.path.at(-1)).join(" ")}"
      options="${names.join(" ")}"
      operands="${kindOf(operands)}"
      ;;`;
}

function kindLines({ path, options }: CommandModel): string[] {
  return options.flatMap(({ long, short, value }) => {
    if (value.kind === "none") return [];
    const patterns = [long, short].flatMap((name) => (name === undefined ? [] : [`"${path.join(" ")} ${name}"`]));
    return [`    ${patterns.join(" | ")}) kind="${kindOf(value)}" ;;`];
  });
}

function kindOf({ kind, choices }: ValueModel): string {
  return kind === "choice" ? `choice ${choices.join(" ")}` : kind;
}
