import { Argument, type Command } from "commander";
import type { Context } from "../context.ts";
import { examples } from "../options.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

export function addCompletionCommand(program: Command, context: () => Context): void {
  program
    .command("completion")
    .description("print a completion script for commands, options and files")
    .addArgument(new Argument("<shell>", "the shell").choices(SHELLS))
    .addHelpText(
      "after",
      examples(
        "source <(contrast completion bash)        # in ~/.bashrc",
        "source <(contrast completion zsh)         # in ~/.zshrc, after compinit",
        "contrast completion fish | source         # in ~/.config/fish/config.fish",
      ),
    )
    .action(async (shell: Shell) => {
      const [{ modelOf }, { bashScript }, { zshScript }, { fishScript }] = await Promise.all([
        import("./model.ts"),
        import("./bash.ts"),
        import("./zsh.ts"),
        import("./fish.ts"),
      ]);
      const script = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell];
      context().out(script(modelOf(program)));
    });
}
