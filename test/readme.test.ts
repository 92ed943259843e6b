import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, expect, test } from "vitest";

/** Runs the commands of the README as they stand there, in a folder that looks like the checkout. */

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "readme-test-"));
const background: ChildProcess[] = [];

afterAll(async () => {
  for (const child of background) await stop(child);
  rmSync(folder, { recursive: true });
});

/** The commands of a section: the lines of its indented blocks, joined where one ends in a backslash. */
function commands(heading: string): string[] {
  const [, section = ""] = readFileSync(join(root, "README.md"), "utf8").split(`\n## ${heading}\n`);
  const [text = ""] = section.split("\n## ");
  const lines = text.split("\n").filter((line) => line.startsWith("    "));
  return lines
    .map((line) => line.slice(4))
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n");
}

function run(command: string): ChildProcess {
  // In a process group of its own: the shell and npx between here and the program don't all pass signals on.
  return spawn("bash", ["-c", command], { cwd: folder, detached: true, stdio: ["ignore", "pipe", "pipe"] });
}

async function finish(command: string): Promise<{ code: number | null; output: string }> {
  const child = run(command);
  const chunks: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output: Buffer.concat(chunks).toString() };
}

async function startReady(command: string): Promise<ChildProcess> {
  const child = run(command);
  background.push(child);
  const seen: string[] = [];
  if (child.stderr === null) throw new Error("no output");
  for await (const line of createInterface({ input: child.stderr })) {
    seen.push(line);
    if (line.includes('"ready"')) break;
  }
  if (seen.at(-1)?.includes('"ready"') !== true) throw new Error(`${command} ended:\n${seen.join("\n")}`);
  child.stderr.resume();
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  process.kill(-child.pid, "SIGTERM");
  await closed;
}

test("the programs can be run by hand from the README's words", async () => {
  for (const name of readdirSync(root)) {
    if (name !== "workspace") symlinkSync(join(root, name), join(folder, name));
  }
  const all = commands("Run the programs by hand");
  expect(all).toHaveLength(11);
  let coordinator: { child: ChildProcess; command: string } | undefined;
  let requests = 0;
  for (const command of all) {
    if (command.includes("coordinator/main.ts")) {
      coordinator = { child: await startReady(command), command };
    } else if (/mesh-proxy\/main\.ts|demo\/apps\//.test(command)) {
      await startReady(command);
    } else if (command.startsWith("curl")) {
      const { code, output } = await finish(command);
      requests++;
      if (requests === 1) expect(code, output).not.toBe(0);
      else expect(output).toContain("emojivoto");
    } else if (command.includes(" recover ")) {
      if (coordinator === undefined) throw new Error("the README recovers before it starts");
      await stop(coordinator.child);
      await startReady(coordinator.command);
      const { code, output } = await finish(command);
      expect(output).toContain("result: recovered");
      expect(code).toBe(0);
    } else {
      const { code, output } = await finish(command);
      expect(code, `${command}\n${output}`).toBe(0);
    }
  }
  expect(requests).toBe(2);
}, 120_000);
