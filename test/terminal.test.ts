import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTerminal } from "./terminal.ts";

/** The CLI at a terminal, and where there is none. */

const ADDRESS = "127.88.8.1";
const root = join(import.meta.dirname, "..");
const contrast = `${process.execPath} ${join(root, "cli/main.ts")}`;
const directory = mkdtempSync(join(tmpdir(), "terminal-test-"));

/** Takes connections and says nothing. */
let silent: Server;
let waiting: string;

beforeAll(async () => {
  const manifest = {
    Policies: {},
    ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
  };
  writeFileSync(join(directory, "manifest.json"), JSON.stringify(manifest));
  silent = createServer((socket) => socket.on("error", () => undefined)).listen(0, ADDRESS);
  await once(silent, "listening");
  const address = silent.address();
  const port = typeof address === "object" ? address?.port : undefined;
  waiting = `${contrast} --insecure verify -c ${ADDRESS}:${port}`;
});
afterAll(() => {
  silent.close();
  rmSync(directory, { recursive: true });
});

const PROGRESS = `waiting for the Coordinator at ${ADDRESS}`;
const CLEARED = "\r\x1b[K";

test.for(["SIGINT", "SIGTERM"] as const)(
  "shows what it waits for, and ends at once with a clean line by %s",
  async (signal) => {
    const terminal = startTerminal(`echo "pid $$"; exec ${waiting}`, {}, directory);
    await terminal.shown(PROGRESS);
    const begun = performance.now();
    if (signal === "SIGINT") terminal.type("\x03");
    else process.kill(Number(/pid (\d+)/.exec(terminal.output())?.[1]), signal);
    expect(await terminal.exited).toBe(signal === "SIGINT" ? 130 : 143);
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(terminal.output().endsWith(CLEARED)).toBe(true);
    expect(terminal.output()).not.toMatch(/^\s+at /m);
  },
);

test("shows no progress to who wants JSON or silence, and where there is no terminal", async () => {
  const commands = [
    `${waiting} --output json`,
    `${waiting} --log-level warn`,
    `TERM=dumb ${waiting}`,
    `${waiting} 2>errors`,
  ];
  let connections = 0;
  silent.on("connection", () => connections++);
  const others = commands.map((command) => startTerminal(command, {}, directory));
  while (connections < commands.length) await once(silent, "connection");
  // What is begun later shows it, so the others had the time to.
  const reference = startTerminal(waiting, {}, directory);
  await reference.shown(PROGRESS);
  for (const terminal of [...others, reference]) terminal.type("\x03");
  for (const terminal of others) {
    expect(await terminal.exited).toBe(130);
    expect(terminal.output()).not.toContain(PROGRESS);
  }
  await reference.exited;
  expect(readFileSync(join(directory, "errors"), "utf8")).toBe("");
});

const RED = "\x1b[1;31merror:\x1b[0m";

test.for([
  ["in colour", {}, `${RED} unreadable_file: `],
  ["without colour for NO_COLOR", { NO_COLOR: "1" }, "error: unreadable_file: "],
  ["without colour on a dumb terminal", { TERM: "dumb" }, "error: unreadable_file: "],
] as const)("says what is wrong %s", async ([, environment, beginning]) => {
  const terminal = startTerminal(`${contrast} evidence show /no/such/file`, environment, directory);
  expect(await terminal.exited).toBe(2);
  expect(terminal.output().startsWith(beginning)).toBe(true);
});

async function run(command: string): Promise<{ code: number | null; stderr: string }> {
  const child = spawn("bash", ["-c", `set -o pipefail; ${command}`], {
    cwd: directory,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stderr };
}

test("who reads no further is no error", async () => {
  expect(await run(`${contrast} completion zsh | true`)).toEqual({ code: 0, stderr: "" });
  expect(await run(`${contrast} --help | head -1`)).toEqual({ code: 0, stderr: "" });
});

test("a result that can't be written is an error", async () => {
  const { code, stderr } = await run(`${contrast} completion bash >/dev/full`);
  expect(stderr).toMatch(/^error: standard output can't be written: ENOSPC/);
  expect(code).toBe(1);
});
