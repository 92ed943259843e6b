import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTerminal } from "../../test/terminal.ts";
import { commandTree } from "../commands.ts";
import { bashScript } from "./bash.ts";
import { fishScript } from "./fish.ts";
import { modelOf } from "./model.ts";
import { zshScript } from "./zsh.ts";

/** The real shells complete lines that are typed in a terminal, and show what the program would be given. */

const directory = mkdtempSync(join(tmpdir(), "completion-test-"));
const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };
const path = (shell: string): string => join(directory, `script.${shell}`);

beforeAll(() => {
  const unused = (): never => {
    throw new Error("nothing is run");
  };
  const model = modelOf(commandTree(unused, unused, unused));
  for (const [shell, script] of Object.entries(SCRIPTS)) writeFileSync(path(shell), script(model));
  mkdirSync(join(directory, "resources"));
  writeFileSync(join(directory, "a file.yml"), "");
});
afterAll(() => rmSync(directory, { recursive: true }));

const lacks = (shell: string): boolean => spawnSync(shell, ["-c", "exit"]).error !== undefined;

/** What is typed, and the words that the program is given; a slash at their end is a matter of the shell. */
const TYPED: readonly (readonly [string, string])[] = [
  ["ver\t --outp\t j\t", "verify --output json"],
  ["verify --output=t\t", "verify --output=text"],
  ["evid\t sh\t a\t", "evidence show a file.yml"],
  ["--workspace-dir reso\t", "--workspace-dir resources"],
  ["--output json --workspace-dir /x set --ato\t", "--output json --workspace-dir /x set --atomic"],
  ["set -c host:1313 -m verify --ato\t", "set -c host:1313 -m verify --atomic"],
  ["generate --reference-values k3s-qemu-t\t a\t", "generate --reference-values k3s-qemu-tdx a file.yml"],
  [
    "evidence verify --allow-tcb-status TDRelaunchAdvisedC\t",
    "evidence verify --allow-tcb-status TDRelaunchAdvisedConfigurationNeeded",
  ],
  ["evidence verify --ato\t", "evidence verify --ato"],
  ["recover -m a\t --fo\t", "recover -m a file.yml --force"],
  ["set -- --ato\t", "set -- --ato"],
  ["completion f\t", "completion fish"],
  ["help rec\t", "help recover"],
  ["verify -c \t", "verify -c"],
];

/** Starts the shell, types all lines, and reads what a function in the program's place was given. */
async function completedBy(shell: string, start: string, setUp: string): Promise<string[]> {
  const terminal = startTerminal(start, { HOME: directory, PS1: "$ ", TERM: "dumb" }, directory);
  terminal.type(`${setUp}source ${path(shell)}\ncontrast() { echo "given: $*;"; }\n`);
  for (const [typed] of TYPED) terminal.type(`contrast ${typed}\n`);
  terminal.type("exit\n");
  expect(await terminal.exited).toBe(0);
  return [...terminal.output().matchAll(/given: (.*?)\/?;\r$/gm)].map(([, words = ""]) => words);
}

const WANTED = TYPED.map(([, words]) => words);

test("bash takes the script without a word", () => {
  expect(spawnSync("bash", ["-n", path("bash")])).toMatchObject({ status: 0, stderr: Buffer.alloc(0) });
});

test("bash completes commands, options, choices and files", async () => {
  expect(await completedBy("bash", "bash --norc --noprofile -i", "")).toEqual(WANTED);
});

test.skipIf(lacks("zsh"))("zsh completes commands, options, choices and files", async () => {
  expect(await completedBy("zsh", "zsh -f -i", "autoload -U compinit; compinit -D -u\n")).toEqual(WANTED);
});

test.skipIf(lacks("fish"))("fish completes commands, options, choices and files", () => {
  const complete = (line: string): string => {
    const script = `source ${path("fish")}; complete -C ${JSON.stringify(`contrast ${line}`)}`;
    const { stdout } = spawnSync("fish", ["--no-config", "-c", script], { cwd: directory, encoding: "utf8" });
    const candidates = stdout.split("\n").flatMap((row) => row.split("\t")[0] || []);
    return candidates.length === 1 ? line.replace(/[^ ]*$/, candidates[0] ?? "") : line;
  };
  const completed = TYPED.map(([typed]) => {
    const parts = typed.split("\t");
    const last = parts.pop() ?? "";
    return `${parts.reduce((line, part) => complete(line + part), "")}${last}`.trim().replace(/\/$/, "");
  });
  expect(completed).toEqual(WANTED);
});
