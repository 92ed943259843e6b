import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, CommanderError } from "commander";
import { afterAll, expect, test } from "vitest";
import { KNOWN } from "../runtime/environment.ts";
import { oneEditApart } from "../runtime/fault.ts";
import { valueKind } from "./option-value.ts";
import { configurableCommands, optionVariables } from "./settings.ts";
import { commandTree } from "./commands.ts";

/** What holds for every command and every option. */

/** Where the examples write what they redirect. */
const folder = mkdtempSync(join(tmpdir(), "examples-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const allOf = (command: Command): Command[] => [command, ...command.commands.flatMap(allOf)];

class Begun extends Error {}

function makeTree(): Command {
  const begin = (): never => {
    throw new Begun();
  };
  const program = commandTree(begin, begin, (text) => {
    throw new Error(text);
  });
  for (const command of allOf(program)) command.configureOutput({ writeOut: () => undefined });
  return program;
}

const nameOf = (command: Command): string =>
  command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
const commands = allOf(makeTree()).map((command) => ({ name: nameOf(command), command }));

function helpOf(command: Command, width: number): string {
  let text = "";
  command.configureOutput({ writeOut: (chunk) => void (text += chunk), getOutHelpWidth: () => width });
  command.outputHelp();
  return text;
}

/** What follows the program's name in the lines below "Examples:", each as the shell would split it. */
function examplesOf(command: Command): string[][] {
  const [, lines = ""] = helpOf(command, 80).split("\nExamples:\n");
  const functions = `exec 3>&1; contrast() { { printf '%s\\0' "$@"; echo; } >&3; }; helm() { :; }; source() { cat "$1"; }`;
  const options = { encoding: "utf8", cwd: folder } as const;
  const { stdout } = spawnSync("bash", ["-c", `${functions}\n${lines}`], options);
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : [line.split("\0").slice(0, -1)]));
}

test.for([80, 100])("no line of any help is longer than %d columns", (width) => {
  for (const { name, command } of commands) {
    const tooLong = helpOf(command, width)
      .split("\n")
      .filter((line) => line.length > width);
    expect(tooLong, name).toEqual([]);
  }
});

test.for(commands.filter(({ command }) => command.commands.length === 0))(
  "the examples of $name are what it takes",
  async ({ command }) => {
    const examples = examplesOf(command);
    expect(examples.length).toBeGreaterThan(0);
    for (const words of examples) {
      const end: unknown = await makeTree()
        .parseAsync(words, { from: "user" })
        .catch((error: unknown) => error);
      const isHelp = end instanceof CommanderError && end.code === "commander.help";
      expect(isHelp || end instanceof Begun, `${words.join(" ")}: ${String(end)}`).toBe(true);
    }
  },
);

test("the kind of every value is known", () => {
  for (const { command } of commands) {
    for (const option of command.options) expect(() => valueKind(option)).not.toThrow();
  }
});

test("no two variables of the environment are one typing error apart", () => {
  const program = makeTree();
  const names = [...new Set([...KNOWN, ...Object.keys(optionVariables([program, ...configurableCommands(program)]))])];
  for (const [index, name] of names.entries()) {
    expect(names.slice(index + 1).filter((other) => oneEditApart(name, other))).toEqual([]);
  }
});

/** Where this fails because a command or an option has changed, run it with `--update`. */
test("docs/cli-reference.md is what the commands say of themselves", async () => {
  const sections = commands.map(({ name, command }) => {
    const help = command.createHelp();
    const terms = help.visibleArguments(command).map(({ description }, index) => {
      const argument = command.registeredArguments[index];
      return `- \`${argument === undefined ? "" : help.argumentTerm(argument)}\`: ${description}`;
    });
    const options = command.options.map((option) => `- \`${option.flags}\`: ${help.optionDescription(option).trim()}`);
    const list = [...terms, ...options].map((line) => `${line}\n`).join("");
    return `## ${name}\n\n    ${help.commandUsage(command)}\n\n${command.description()}\n${list === "" ? "" : `\n${list}`}`;
  });
  const head = "# Commands and options\n\nEvery command accepts the options of `contrast` itself.\n";
  await expect([head, ...sections].join("\n")).toMatchFileSnapshot("../docs/cli-reference.md");
});
