import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { FileStore } from "../store/file-store.ts";

/**
 * What kill -9 can't show: of what a process wrote, a power loss leaves only what the kernel has brought to the disk. The
 * disk is a file here, with ext4 on it, so a copy of the file is what a power loss at that instant leaves.
 */

const NO_DISK =
  process.getuid?.() !== 0
    ? "mounting takes root"
    : existsSync("/dev/loop-control")
      ? undefined
      : "there is no loop device";

const INSTANTS = 20;

if (NO_DISK !== undefined) test.skip(`a power loss: ${NO_DISK}`);

test.runIf(NO_DISK === undefined)(
  "a power loss at any instant leaves the state that was reported last, or a later one",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "power-loss-test-"));
    const [disk, copy] = [join(directory, "disk"), join(directory, "copy")];
    const [mounted, mountedCopy] = [join(directory, "mounted"), join(directory, "mounted-copy")];
    for (const path of [mounted, mountedCopy]) mkdirSync(path);
    writeFileSync(disk, "");
    truncateSync(disk, 16 * 1024 * 1024);
    const env = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
    execFileSync("mkfs.ext4", ["-q", disk], { env });
    execFileSync("mount", ["-o", "loop", disk, mounted]);
    const writer = startWriter(join(mounted, "above", "state"));
    try {
      for (let instant = 0; instant < INSTANTS; instant++) {
        await setTimeout(20 + Math.random() * 80);
        const reported = await writer.paused(() => copyFileSync(disk, copy));
        execFileSync("mount", ["-o", "loop", copy, mountedCopy]);
        try {
          expect(await readCount(join(mountedCopy, "above", "state"))).toBeGreaterThanOrEqual(reported);
        } finally {
          execFileSync("umount", [mountedCopy]);
        }
      }
      expect(writer.reported()).toBeGreaterThan(0);
    } finally {
      await writer.stop();
      execFileSync("umount", [mounted]);
      rmSync(directory, { recursive: true });
    }
  },
);

/** Opens the store as the next start would, and follows the pointer. */
async function readCount(state: string): Promise<number> {
  const store = await FileStore.open(state, { pid: process.pid, host: "test", since: new Date() });
  try {
    const [count, digest] = (await store.latest())?.toString().split(" ") ?? [];
    if (digest !== undefined) await store.get("policies", digest);
    return Number(count ?? 0);
  } finally {
    store.close();
  }
}

interface Writer {
  readonly reported: () => number;
  /** Stops the writer while `use` runs. @returns what it had reported before */
  readonly paused: (use: () => void) => Promise<number>;
  readonly stop: () => Promise<void>;
}

function startWriter(state: string): Writer {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, "power-loss-writer.ts"), state], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let count = 0;
  if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", (line) => (count = Number(line)));
  return {
    reported: () => count,
    paused: async (use) => {
      const reported = count;
      child.kill("SIGSTOP");
      // What the kernel was about when the writer stopped comes to its end.
      await setTimeout(5);
      use();
      child.kill("SIGCONT");
      return reported;
    },
    stop: async () => {
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}
