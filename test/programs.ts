import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ENGINE } from "./ways.ts";

/** Runs the programs of the checkout as processes of their own. */

const root = join(import.meta.dirname, "..");

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Program {
  readonly child: ChildProcess;
  /** The lines of standard error that are JSON, and those that are not. */
  readonly log: LogLine[];
  readonly text: string[];
  /** Resolves with the first line whose message contains the text; rejects when the program ends without it. */
  readonly line: (text: string) => Promise<LogLine>;
  /** The exit code, null after a signal; all output has been read. */
  readonly exited: Promise<number | null>;
  readonly stdout: () => string;
}

/** Where the programs keep their compiled code from one start to the next, if anywhere. */
const cache = process.env["NODE_COMPILE_CACHE"];

/**
 * @param environment beside PATH and the cache of compiled code; nothing of this process's own goes along
 * @param within a command that ends by running what follows it
 */
export function startProgram(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  within: readonly string[] = [],
): Program {
  const [command = process.execPath, ...rest] = [...within, process.execPath, ...args];
  const child = spawn(command, rest, {
    cwd: root,
    env: {
      PATH: process.env["PATH"] ?? "",
      ...(cache === undefined ? {} : { NODE_COMPILE_CACHE: cache }),
      CONTRAST_ENGINE: ENGINE,
      ...environment,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log: LogLine[] = [];
  const text: string[] = [];
  const output: Buffer[] = [];
  const reader = createInterface({ input: child.stderr });
  reader.on("line", (line) => {
    try {
      log.push(JSON.parse(line) as LogLine);
    } catch {
      text.push(line);
    }
  });
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  const exited = once(child, "close").then(([code]) => code as number | null);
  const line = async (wanted: string): Promise<LogLine> => {
    for (;;) {
      const found = log.find(({ msg }) => msg.includes(wanted));
      if (found !== undefined) return found;
      const ended = await Promise.race([once(reader, "line").then(() => false), exited.then(() => true)]);
      if (ended && !log.some(({ msg }) => msg.includes(wanted))) {
        throw new Error(
          `it ended without "${wanted}":\n${[...text, ...log.map((entry) => JSON.stringify(entry))].join("\n")}`,
        );
      }
    }
  };
  return { child, log, text, line, exited, stdout: () => Buffer.concat(output).toString() };
}
