import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { constants as system } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { Refusal } from "../api/refusal.ts";
import { quote } from "../runtime/fault.ts";

/**
 * One process at a time has the state directory: it holds flock(2) on the file `lock`. The kernel frees it when the
 * process ends, however it ends. What is written in the file only tells people who the holder is.
 */
export interface StateLock {
  release(): void;
}

/** Who holds the lock. */
export interface Holder {
  readonly pid: number;
  readonly host: string;
  readonly since: Date;
}

/** Linux, <asm-generic/fcntl.h>. */
const LOCK_EX = 2;
const LOCK_NB = 4;

const holderSchema = z.strictObject({ pid: z.int(), host: z.string(), since: z.iso.datetime() });

/** @throws Refusal `state_locked`, `lock_unavailable`; the system's error where the file can't be opened */
export async function lockState(directory: string, holder: Holder): Promise<StateLock> {
  const flock = await loadFlock();
  const path = join(directory, "lock");
  // Node opens files close-on-exec, so no child of this process inherits the lock.
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const errno = flock(fd, LOCK_EX | LOCK_NB);
    if (errno === system.errno.EWOULDBLOCK) throw locked(directory, readFileSync(path, "utf8"));
    if (errno !== 0) throw unavailable(directory, `errno ${errno} of flock`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  // Emptied first, which also a full disk allows: no name is better than the name of an earlier holder.
  ftruncateSync(fd);
  try {
    writeSync(fd, `${JSON.stringify(holder)}\n`);
  } catch {
    // The lock is held all the same.
  }
  return { release: () => closeSync(fd) };
}

function locked(directory: string, text: string): Refusal {
  return new Refusal("state_locked", "another process uses the state directory", {
    where: directory,
    got: `the lock held by ${describeHolder(text)}`,
    hint: "stop that process, or give this one a CONTRAST_STATE_DIR of its own; removing the file does not help",
  });
}

/** The text is anybody's who can write to the disk. */
function describeHolder(text: string): string {
  try {
    const { pid, host, since } = holderSchema.parse(JSON.parse(text));
    return `process ${pid} on ${quote(host)} since ${since}`;
  } catch {
    return "a process that did not write its name";
  }
}

function unavailable(where: string, got: string, cause?: unknown): Refusal {
  return new Refusal("lock_unavailable", "the state directory can't be locked against a second process", {
    where,
    got,
    hint: "put CONTRAST_STATE_DIR on a file system with flock(2), and install koffi with its optional dependencies",
    cause,
  });
}

/** Node has no flock. @returns a function that gives errno, 0 for done */
async function loadFlock(): Promise<(fd: number, operation: number) => number> {
  try {
    const { load, errno } = await import("koffi");
    const flock = load(null).func("int flock(int fd, int operation)");
    return (fd, operation) => (flock(fd, operation) === 0 ? 0 : errno());
  } catch (cause) {
    throw unavailable("koffi", cause instanceof Error ? cause.message : String(cause), cause);
  }
}
