import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";

/** A file system in memory, for this process's mount namespace, which is small enough to be filled. */
export function mountSmall(folder: string, size: string): void {
  mkdirSync(folder, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder]);
}

export function unmount(folder: string): void {
  execFileSync("umount", ["--lazy", folder]);
}
