import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { ImageError } from "./error.ts";

/** Debian's packages of the tools that are not in every system, for the message where one is missing. */
const PACKAGES: Readonly<Record<string, string>> = {
  buildah: "buildah",
  mmdebstrap: "mmdebstrap",
  strip: "binutils",
  "aarch64-linux-gnu-strip": "binutils-aarch64-linux-gnu",
  "x86_64-linux-gnu-strip": "binutils-x86-64-linux-gnu",
  debugfs: "e2fsprogs",
  e2fsck: "e2fsprogs",
  cargo: "cargo-web",
  rustc: "rustc-web",
  readelf: "binutils",
  "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
  "x86_64-linux-gnu-gcc": "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
};

export interface RunOptions {
  readonly cwd?: string;
  readonly stop?: AbortSignal | undefined;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a tool to its end.
 *
 * @returns what it printed
 * @throws ImageError tool_missing, disk_full, build_failed
 */
export async function run(
  tool: string,
  args: readonly string[],
  { cwd, stop, env = {} }: RunOptions = {},
): Promise<string> {
  // Tools create files by the umask; an image must not depend on it. Some are where only root looks by default.
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const script =
    'umask 022; PATH=$PATH:/usr/sbin:/sbin; while [ "$1" != -- ]; do export "$1"; shift; done; shift; exec "$@"';
  const child = spawn("/bin/sh", ["-c", script, "sh", ...variables, "--", tool, ...args], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
    ...(stop && { signal: stop }),
  });
  const closed = once(child, "close") as Promise<[number | null]>;
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
  if (code === 0) return output;
  if (code === 127) {
    const debian = PACKAGES[tool];
    throw new ImageError("tool_missing", `${tool} is not installed`, {
      hint: debian === undefined ? `install ${tool}` : `on Debian: apt-get install ${debian}`,
    });
  }
  const last = errors.trim().split("\n").slice(-3).join("; ");
  if (/no space left on device|ENOSPC/i.test(errors)) {
    throw new ImageError("disk_full", "the disk is full", {
      where: tool,
      got: last,
      hint: "make room, 4 GB are enough",
    });
  }
  throw new ImageError("build_failed", `${tool} failed`, { where: args.slice(0, 3).join(" "), got: last });
}
