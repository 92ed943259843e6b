import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { rolldown } from "rolldown";

/**
 * For tests: a guest under software emulation with Debian's kernel, in which the Initializer of this checkout runs with
 * Debian's own cryptsetup, dmsetup and mkfs.ext4. The host has a shell in it.
 */

const checkout = join(import.meta.dirname, "../..");
const kernel = join(checkout, "node_modules/.cache/guest-kernel");
const BUSYBOX = "/bin/busybox";
const TOOLS = ["/sbin/cryptsetup", "/sbin/dmsetup", "/sbin/mke2fs", "/sbin/e2fsck", "/sbin/filefrag"];
const MODULES =
  "virtio_pci virtio_blk virtio_net erofs loop dm-mod dm-crypt dm-integrity ext4 xts authenc ecb sha256-ssse3 aesni-intel".split(
    " ",
  );

/** Why such guests can't run here. */
export function lacksForGuests(): string | undefined {
  if (process.arch !== "x64") return "the guests are for x86";
  const folders = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`.split(":");
  const isThere = (name: string): boolean => folders.some((folder) => existsSync(join(folder, name)));
  const missing = ["qemu-system-x86_64", "mkfs.erofs", "cryptsetup", "dmsetup", "mke2fs"].find(
    (name) => !isThere(name),
  );
  if (missing !== undefined) return `there is no ${missing}`;
  if (!existsSync(BUSYBOX) || readFileSync(BUSYBOX).includes("/ld-linux")) return "there is no busybox-static";
  return existsSync(join(kernel, "vmlinuz")) ? undefined : "there is no kernel; .ci/guest-kernel fetches one";
}

export interface GuestImage {
  readonly initramfs: string;
  readonly root: string;
}

/** Makes what all guests of a test start from. @param files more of the root file system, by path */
export async function makeGuestImage(
  folder: string,
  files: Readonly<Record<string, Buffer | string>> = {},
): Promise<GuestImage> {
  const tree = join(folder, "tree");
  for (const name of ["bin", "dev", "proc", "run", "sbin", "sys", "tmp", "volume", "opt/contrast", "usr/local/bin"]) {
    mkdirSync(join(tree, name), { recursive: true });
  }
  cpSync(BUSYBOX, join(tree, "bin/busybox"));
  cpSync(process.execPath, join(tree, "usr/local/bin/node"));
  for (const tool of TOOLS) cpSync(tool, join(tree, tool), { dereference: true });
  cpSync("/sbin/mke2fs", join(tree, "sbin/mkfs.ext4"), { dereference: true });
  for (const library of librariesOf([...TOOLS, process.execPath])) copyLibrary(library, tree);
  await bundleInitializer(join(tree, "opt/contrast"));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), content);
  }
  const root = join(folder, "root.erofs");
  execFileSync("mkfs.erofs", ["--quiet", root, tree], { stdio: "pipe" });
  return { initramfs: makeInitramfs(join(folder, "initramfs")), root };
}

/** The program as an image has it: a few files, and koffi beside them. */
async function bundleInitializer(directory: string): Promise<void> {
  const build = await rolldown({
    input: {
      initializer: join(checkout, "initializer/program.ts"),
      volume: join(import.meta.dirname, "test-program.ts"),
    },
    platform: "node",
    external: ["koffi"],
    logLevel: "warn",
  });
  await build.write({ dir: directory, format: "esm", entryFileNames: "[name].mjs" });
  await build.close();
  for (const name of ["koffi", `@koromix/koffi-linux-${process.arch}`]) {
    cpSync(join(checkout, "node_modules", name), join(directory, "node_modules", name), { recursive: true });
  }
}

function librariesOf(programs: readonly string[]): string[] {
  const text = execFileSync("ldd", programs, { encoding: "utf8" });
  return [...new Set([...text.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path))];
}

/** With the links that lead to it, by the same paths. */
function copyLibrary(path: string, tree: string): void {
  const real = execFileSync("realpath", [path], { encoding: "utf8" }).trim();
  mkdirSync(dirname(join(tree, path)), { recursive: true });
  cpSync(real, join(tree, path));
}

function makeInitramfs(file: string): string {
  const tree = `${file}.tree`;
  for (const name of ["bin", "dev", "proc", "sys", "root", "modules"]) mkdirSync(join(tree, name), { recursive: true });
  cpSync(BUSYBOX, join(tree, "bin/busybox"));
  const modules = withDependencies(MODULES);
  for (const name of modules) cpSync(join(kernel, "modules", `${name}.ko`), join(tree, "modules", `${name}.ko`));
  writeFileSync(join(tree, "init"), init(modules), { mode: 0o755 });
  const script = `find . | cpio -o -H newc --quiet | gzip -1 > ${JSON.stringify(resolve(file))}`;
  execFileSync("sh", ["-c", script], { cwd: tree });
  return file;
}

/** In the order of loading. Those that the folder lacks are part of the kernel. */
function withDependencies(names: readonly string[]): string[] {
  const order: string[] = [];
  const add = (name: string): void => {
    const file = [name, name.replaceAll("_", "-"), name.replaceAll("-", "_")]
      .map((one) => join(kernel, "modules", `${one}.ko`))
      .find((path) => existsSync(path));
    if (file === undefined) return;
    const own = file.slice(file.lastIndexOf("/") + 1, -".ko".length);
    if (order.includes(own)) return;
    const depends = /\0depends=([^\0]*)\0/.exec(readFileSync(file, "latin1"))?.[1] ?? "";
    for (const other of depends.split(",").filter((one) => one !== "")) add(other);
    if (!order.includes(own)) order.push(own);
  };
  for (const name of names) add(name);
  return order;
}

const init = (modules: readonly string[]): string => `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for m in ${modules.join(" ")}; do $b insmod /modules/$m.ko || echo "insmod $m failed"; done
$b mount -t erofs -o ro /dev/vda /root
for f in dev proc sys; do $b mount --move /$f /root/$f; done
for f in run tmp volume; do $b chroot /root $b mount -t tmpfs tmpfs /$f; done
$b ifconfig lo up; $b ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
export PATH=/usr/local/bin:/bin:/sbin CONTRAST_LOG_FORMAT=json
$b mkfifo /root/run/shell
port=$($b sed -n 's/.* shell=\\([0-9]*\\).*/\\1/p' /root/proc/cmdline)
exec $b chroot /root $b sh -c "busybox nc 10.0.2.2 $port </run/shell | busybox sh >/run/shell 2>&1"
`;

export interface Answer {
  readonly code: number;
  readonly text: string;
}

export interface GuestOptions extends GuestImage {
  /** Files that are disks, from /dev/vdb on. */
  readonly disks: readonly string[];
  readonly folder: string;
  readonly memoryMb?: number;
}

let guests = 0;

export class Guest {
  readonly #child: ChildProcess;
  readonly #shell: Socket;
  readonly #console: string;
  readonly #lines: string[] = [];
  #waiting: (() => void) | undefined;
  #count = 0;
  #isOver = false;

  private constructor(child: ChildProcess, shell: Socket, console: string) {
    this.#child = child;
    this.#shell = shell;
    this.#console = console;
    const wake = (): void => this.#waiting?.();
    const end = (): void => {
      this.#isOver = true;
      wake();
    };
    child.on("close", end);
    shell.on("error", end);
    createInterface(shell).on("line", (line) => {
      this.#lines.push(line);
      wake();
    });
  }

  static async start({ initramfs, root, disks, folder, memoryMb = 512 }: GuestOptions): Promise<Guest> {
    const log = join(folder, `console-${process.pid}-${++guests}`);
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const drive = (file: string, others: string): string[] => ["-drive", `format=raw,if=virtio,file=${file}${others}`];
    const child = spawn(
      "qemu-system-x86_64",
      [
        ..."-machine pc -accel tcg,thread=multi -smp 2 -cpu max -display none -nodefaults -no-reboot".split(" "),
        "-m",
        String(memoryMb),
        "-kernel",
        join(kernel, "vmlinuz"),
        "-initrd",
        initramfs,
        "-append",
        `console=ttyS0 quiet loglevel=6 panic=-1 shell=${port} `,
        "-serial",
        `file:${log}`,
        ..."-netdev user,id=net -device virtio-net-pci,netdev=net".split(" "),
        ...drive(root, ",readonly=on"),
        ...disks.flatMap((file) => drive(file, "")),
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const orphan = (): boolean => child.kill("SIGKILL");
    process.once("exit", orphan);
    child.once("close", () => process.off("exit", orphan));
    try {
      const connection = once(server, "connection", { signal: AbortSignal.timeout(90_000) }) as Promise<[Socket]>;
      const [shell] = await Promise.race([connection, once(child, "close").then(() => [])]);
      if (shell !== undefined) return new Guest(child, shell, log);
    } catch {
      child.kill("SIGKILL");
    } finally {
      server.close();
    }
    throw new Error(`the guest did not start:\n${readFileSync(log, "utf8")}`);
  }

  /** What the kernel said. */
  get console(): string {
    return existsSync(this.#console) ? readFileSync(this.#console, "utf8") : "";
  }

  /** Runs a command line of the guest's shell. @throws Error where it does not end in time */
  async sh(command: string, ms = 60_000): Promise<Answer> {
    const mark = `@@${++this.#count}`;
    this.#shell.write(`{ ${command}\n} </dev/null; code=$?; echo; echo "${mark} $code"\n`);
    const lines = await this.#line(`${mark} `, ms);
    const code = Number(lines.pop()?.slice(mark.length + 1));
    return { code, text: lines.join("\n").trim() };
  }

  /** @returns the lines up to the first that begins so, which are taken away */
  async #line(start: string, ms: number): Promise<string[]> {
    const deadline = Date.now() + ms;
    for (;;) {
      const at = this.#lines.findIndex((line) => line.startsWith(start));
      if (at >= 0) return this.#lines.splice(0, at + 1);
      const left = deadline - Date.now();
      if (this.#isOver || left <= 0) {
        throw new Error(`"${start}" did not come:\n${this.#lines.join("\n")}\n${this.console}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** A power cut. */
  async kill(): Promise<void> {
    if (this.#isOver) return;
    const closed = new Promise<void>((resolve) => this.#child.once("close", () => resolve()));
    this.#child.kill("SIGKILL");
    await closed;
  }
}
