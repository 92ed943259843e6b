import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ContainerdPlace } from "./containerd-place.ts";
import { NodeError } from "./error.ts";

const run = promisify(execFile);

/**
 * Restarts containerd: by the node's systemd, or, where the node has none (a node in a container), by ending its process,
 * which whoever started it starts again. Pods go on meanwhile.
 *
 * @param root the node's file system
 * @throws NodeError containerd_unknown
 */
export async function restartContainerd(root: string, place: ContainerdPlace): Promise<void> {
  // sd_booted(3)
  if (existsSync(join(root, "run/systemd/system"))) {
    await onNode("systemctl", "restart", await activeUnit(place));
    return;
  }
  process.kill(await findProcess(place), "SIGTERM");
}

async function activeUnit({ units, config }: ContainerdPlace): Promise<string> {
  for (const unit of units) {
    const active = await onNode("systemctl", "is-active", "--quiet", unit).then(
      () => true,
      () => false,
    );
    if (active) return unit;
  }
  throw new NodeError("containerd_unknown", "no unit of systemd runs containerd", {
    where: config,
    want: `${units.join(" or ")} to be active`,
  });
}

/** Runs a program of the node, in its mount namespace. The pod shares the node's process ids. */
async function onNode(...command: readonly string[]): Promise<void> {
  await run("/bin/busybox", ["nsenter", "-t", "1", "-m", "--", ...command]);
}

/** The containerd that was started with this configuration; if none says with which, the only one. */
async function findProcess({ config }: ContainerdPlace): Promise<number> {
  const all: { pid: number; args: readonly string[] }[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const line = await readFile(join("/proc", pid, "cmdline"), "utf8").catch(() => "");
    const args = line.split("\0").filter((word) => word !== "");
    if (/(?:^|\/)(?:containerd|k3s|rke2)$/.test(args[0] ?? "")) all.push({ pid: Number(pid), args: args.slice(1) });
  }
  const named = all.filter(({ args }) => args.some((word) => word === config || word === `--config=${config}`));
  const [only, ...others] = named.length > 0 ? named : all;
  if (only !== undefined && others.length === 0) return only.pid;
  throw new NodeError("containerd_unknown", "it is not certain which process is the node's containerd", {
    where: config,
    got: `${all.length} processes that may be it`,
    want: "one that was started with this configuration file",
  });
}
