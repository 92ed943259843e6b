import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/** Runs a command in a terminal of its own: a pty, as script(1) of util-linux makes it. */
export interface Terminal {
  readonly child: ChildProcess;
  /** All that was written to the terminal, with its escape sequences. */
  readonly output: () => string;
  /** As if typed. */
  readonly type: (text: string) => void;
  /** Resolves when the terminal has shown the text; rejects when the command ends without it. */
  readonly shown: (text: string) => Promise<void>;
  /** The exit code of the command. */
  readonly exited: Promise<number | null>;
}

/** @param command for sh; it has 80 columns */
export function startTerminal(
  command: string,
  environment: Readonly<Record<string, string>> = {},
  cwd = "/",
): Terminal {
  const child = spawn("script", ["--quiet", "--return", "--command", `stty cols 80 -echo; ${command}`, "/dev/null"], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", TERM: "xterm-256color", ...environment },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });
  const exited = once(child, "close").then(([code]) => code as number | null);
  const shown = async (text: string): Promise<void> => {
    while (!output.includes(text)) {
      const ended = await Promise.race([once(child.stdout, "data").then(() => false), exited.then(() => true)]);
      if (ended && !output.includes(text)) throw new Error(`it ended without ${JSON.stringify(text)}:\n${output}`);
    }
  };
  return { child, output: () => output, type: (text) => void child.stdin.write(text), shown, exited };
}
