import { spawn } from "node:child_process";
import { once } from "node:events";

/**
 * A walk-through in a document: every ```console block of it, run from the first to the last in one shell. A line with
 * `$ ` is a command, which goes on in lines with `> `; the lines below it are what has to be seen, in this order, where
 * `…` stands for anything.
 */
export interface Step {
  readonly command: string;
  readonly expected: readonly string[];
}

export function parseWalkThrough(markdown: string): Step[] {
  const steps: { command: string; expected: string[] }[] = [];
  for (const [, block = ""] of markdown.matchAll(/^```console\n(.*?)^```$/gms)) {
    for (const line of block.trimEnd().split("\n")) {
      const step = steps.at(-1);
      if (line.startsWith("$ ")) steps.push({ command: line.slice(2), expected: [] });
      else if (step === undefined) throw new Error(`output before any command: ${line}`);
      else if (line.startsWith("> ") && step.expected.length === 0) step.command += `\n${line.slice(2)}`;
      else step.expected.push(line.trim());
    }
  }
  return steps;
}

export interface Outcome {
  readonly step: Step;
  /** Standard output and standard error, as they came. */
  readonly output: string;
  readonly exitCode: number;
}

const MARK = "@@ step ended @@";

/**
 * Runs the steps, all of them whatever they give, and ends what they left running, or what runs too long.
 *
 * @param limitMs for all of them together
 */
export async function runWalkThrough(steps: readonly Step[], folder: string, limitMs: number): Promise<Outcome[]> {
  const script = ["exec 2>&1", ...steps.map(({ command }) => `${command}\nprintf '\\n${MARK} %s\\n' $?`)].join("\n");
  // In a process group of its own, so that what runs in the background can be ended with it.
  const shell = spawn("bash", ["-c", script], { cwd: folder, detached: true, stdio: ["ignore", "pipe", "inherit"] });
  const chunks: Buffer[] = [];
  shell.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const closed = once(shell, "close");
  const timer = setTimeout(() => endGroup(shell.pid), limitMs);
  await once(shell, "exit");
  clearTimeout(timer);
  // What runs in the background shares the pipe, so that it closes only now.
  endGroup(shell.pid);
  await closed;
  const parts = Buffer.concat(chunks)
    .toString()
    .split(new RegExp(`\n${MARK} (\\d+)\n`));
  return steps.map((step, index) => ({
    step,
    output: parts[2 * index] ?? "",
    exitCode: Number(parts[2 * index + 1] ?? NaN),
  }));
}

function endGroup(leader: number | undefined): void {
  try {
    process.kill(-(leader ?? NaN), "SIGTERM");
  } catch {
    // Nothing was left.
  }
}

/** Whether the output has the expected lines, in their order. */
export function isAsExpected({ step, output }: Outcome): boolean {
  const lines = output.split("\n").map((line) => line.trim());
  let at = 0;
  return step.expected.every((want) => {
    const pattern = new RegExp(`^${want.split("…").map(escapeRegExp).join(".*")}$`);
    at = lines.findIndex((line, index) => index >= at && pattern.test(line)) + 1;
    return at > 0;
  });
}

function escapeRegExp(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
