import { Argument, type Command } from "commander";
import { examples } from "./options.ts";

/** Stands for commander's own, which says nothing about a word that it does not know. */
export function addHelpCommand(program: Command): void {
  const names = program.commands.map((command) => command.name());
  const words = new Argument("[command...]", "the command");
  words.argChoices = names;
  program
    .command("help")
    .description("print the help of a command")
    .addArgument(words)
    .addHelpText("after", examples("contrast help set", "contrast help evidence verify"))
    .action(async (words: readonly string[]) => {
      let command = program;
      for (const word of words) {
        const next = command.commands.find((inner) => inner.name() === word);
        // Parsed as a command it is refused, with a suggestion.
        if (next === undefined) return void (await command.parseAsync([word], { from: "user" }));
        command = next;
      }
      command.help();
    });
}
