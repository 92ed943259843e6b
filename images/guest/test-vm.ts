import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";

/** For tests: a VM under software emulation, with Debian's kernel and an initramfs of files that are given. */

const root = join(import.meta.dirname, "../..");
const kernel = join(root, "node_modules/.cache/guest-kernel");
const BUSYBOX = "/bin/busybox";
const MODULES = [
  "virtio_ring",
  "virtio",
  "virtio_pci_modern_dev",
  "virtio_pci_legacy_dev",
  "virtio_pci",
  "virtio_blk",
  "loop",
  "configfs",
  "fuse",
  "libcrc32c",
  "erofs",
];

/** Why the check can't be built here. */
export function lacksCargo(): string | undefined {
  if (process.arch !== "x64") return "the guests are for x86";
  return isThere("cargo") ? undefined : "there is no cargo";
}

/** Why such VMs can't run here. */
export function lacksForVms(): string | undefined {
  const cargo = lacksCargo();
  if (cargo !== undefined) return cargo;
  if (!isThere("qemu-system-x86_64")) return "there is no qemu-system-x86_64";
  if (!existsSync(BUSYBOX) || readFileSync(BUSYBOX).includes("/ld-linux")) return "there is no busybox-static";
  return existsSync(join(kernel, "vmlinuz")) ? undefined : "there is no kernel; .ci/guest-kernel fetches one";
}

function isThere(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, name)));
}

/**
 * An initramfs (Linux, Documentation/driver-api/early-userspace/buffer-format.rst) with busybox, the modules of the kernel
 * in /modules, and these programs. @param files contents by path
 */
export function writeInitramfs(file: string, files: Readonly<Record<string, Buffer | string>>): void {
  const all = new Map<string, Buffer | string | undefined>([
    ...["bin", "dev", "modules", "proc", "run", "sys", "tmp"].map((folder) => [folder, undefined] as const),
    ["bin/busybox", readFileSync(BUSYBOX)],
    ...MODULES.map((name) => [`modules/${name}.ko`, readFileSync(join(kernel, "modules", `${name}.ko`))] as const),
    ["modules/order", MODULES.join("\n")],
    ...Object.entries(files),
  ]);
  const entries = [...all].map(([name, content], index) => cpioEntry(name, content, index + 1));
  writeFileSync(file, gzipSync(Buffer.concat([...entries, cpioEntry("TRAILER!!!", Buffer.alloc(0), 0)]), { level: 1 }));
}

function cpioEntry(name: string, content: Buffer | string | undefined, inode: number): Buffer {
  const bytes = Buffer.from(content ?? "");
  const mode = content === undefined ? 0o40_755 : 0o100_755;
  const numbers = [inode, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0];
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, "0")).join("")}${name}\0`;
  const padded = (part: Buffer): Buffer => Buffer.concat([part, Buffer.alloc(-part.length & 3)]);
  return Buffer.concat([padded(Buffer.from(header)), padded(bytes)]);
}

export interface VmOptions {
  readonly initramfs: string;
  /** Files that are disks, from /dev/vda on. */
  readonly disks: readonly string[];
  /** A file that is a disk which the host can plug in. */
  readonly spare?: string;
  /** Words of the kernel's command line. */
  readonly parameters: readonly string[];
  /** Called with every line of the console. */
  readonly onLine?: (line: string, host: Host) => void;
  /** A folder for a socket. */
  readonly folder: string;
}

export interface Host {
  plugIn(): void;
}

/** Runs a VM until it powers itself off. @returns its console. @throws Error where it does not power off */
export async function runVm({ initramfs, disks, spare, parameters, onLine, folder }: VmOptions): Promise<string> {
  const monitor = join(folder, `monitor-${process.pid}`);
  const drive = (file: string, others: string): string[] => ["-drive", `format=raw,file=${file},${others}`];
  const child = spawn(
    "qemu-system-x86_64",
    [
      ..."-machine pc -accel tcg -cpu max -m 256 -display none -nodefaults -no-reboot -serial stdio".split(" "),
      "-monitor",
      `unix:${monitor},server=on,wait=off`,
      "-kernel",
      join(kernel, "vmlinuz"),
      "-initrd",
      initramfs,
      "-append",
      ["console=ttyS0", "quiet", "loglevel=6", ...parameters].join(" "),
      ...disks.flatMap((file) => drive(file, "if=virtio")),
      ...(spare === undefined ? [] : drive(spare, "if=none,id=spare")),
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const exited = once(child, "exit") as Promise<[number | null]>;
  const lines: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => lines.push(chunk.toString()));
  const host = { plugIn: () => void connect(monitor).end("device_add virtio-blk-pci,drive=spare\n") };
  createInterface(child.stdout).on("line", (line) => {
    lines.push(line);
    onLine?.(line, host);
  });
  const overdue = setTimeout(() => child.kill("SIGKILL"), 100_000);
  const [code] = await exited.finally(() => clearTimeout(overdue));
  const console = lines.join("\n");
  if (code !== 0 || !console.includes("reboot: Power down")) throw new Error(`the VM did not power off:\n${console}`);
  return console;
}
