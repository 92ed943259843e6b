import { spawn } from "node:child_process";
import { VolumeError } from "./error.ts";

/** cryptsetup, dmsetup and mkfs.ext4, by absolute paths and without a shell. */

const MOST_OUTPUT = 16_384;
const MOST_TOLD = 400;

/** libdevmapper makes the nodes below /dev/mapper itself and waits for nobody; messages are English. */
const ENVIRONMENT = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C", DM_DISABLE_UDEV: "1" };

export interface ToolOptions {
  /** What it reads. Secret. */
  readonly input?: Buffer | string;
  /** Milliseconds until it is killed. */
  readonly timeout?: number;
}

/**
 * Runs a tool to its end.
 *
 * @returns what it printed
 * @throws VolumeError volume_tool_failed with its exit code and the last it said
 */
export async function runTool(
  path: string,
  args: readonly string[],
  { input = "", timeout = 120_000 }: ToolOptions = {},
): Promise<string> {
  const child = spawn(path, args, { env: ENVIRONMENT, timeout, killSignal: "SIGKILL" });
  const stdout: string[] = [];
  const stderr: string[] = [];
  for (const [stream, parts] of [
    [child.stdout, stdout],
    [child.stderr, stderr],
  ] as const) {
    let room = MOST_OUTPUT;
    stream.setEncoding("utf8").on("data", (text: string) => {
      parts.push(text.slice(0, room));
      room -= Math.min(room, text.length);
    });
  }
  // It may end without reading.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const end = await new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(code === null ? `killed by ${signal}` : `exit code ${code}`));
  });
  if (end === "exit code 0") return stdout.join("");
  const said = stderr
    .join("")
    .trim()
    .replaceAll(/\s*\n\s*/g, "; ");
  throw new VolumeError("volume_tool_failed", `${path} failed`, {
    where: [path, ...args].join(" "),
    got: said === "" ? end : `${end}: ${said.slice(-MOST_TOLD)}`,
    hint: "look at what it says: the guest's kernel needs dm-crypt, dm-integrity and loop devices, and this container CAP_SYS_ADMIN",
  });
}
