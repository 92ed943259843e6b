import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { getSystemErrorName } from "node:util";
import { join } from "node:path";
import { VolumeError } from "./error.ts";

/** mount(2), umount(2), mknod(2) and loop devices, which Node lacks. */

const MS_NODEV = 4;

/** <linux/loop.h>, Linux 5.8 or later. */
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CONFIG_BYTES = 304;
const LO_FLAGS_AUTOCLEAR = 4;
const LOOP_MAJOR = 7;
const MISC_MAJOR = 10;
const LOOP_CTRL_MINOR = 237;

let binding: ReturnType<typeof bind> | undefined;

async function bind() {
  const { load, errno } = await import("koffi");
  const libc = load(null);
  return {
    errno,
    ioctl: libc.func("int ioctl(int fd, unsigned long request, void *argument)"),
    mknod: libc.func("int mknod(const char *path, unsigned int mode, unsigned long device)"),
    mount: libc.func(
      "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
    ),
    umount: libc.func("int umount2(const char *target, int flags)"),
  };
}

/** A system call that failed, like Node's own errors. */
export class SystemCallError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly errno: number;

  constructor(syscall: string, errno: number, about: string) {
    const code = getSystemErrorName(-errno);
    super(`${code}: ${syscall} '${about}'`);
    this.name = "SystemCallError";
    this.code = code;
    this.syscall = syscall;
    this.errno = -errno;
  }
}

/** @param data options of the file system @throws SystemCallError */
export async function mount(
  source: string,
  target: string,
  type: string,
  data: string,
  flags: number = MS_NODEV,
): Promise<void> {
  binding ??= bind();
  const { mount: call, errno } = await binding;
  await onThread("mount", target, errno, (done) => call.async(source, target, type, flags, data, done));
}

/** @throws SystemCallError EBUSY while it is in use */
export async function unmount(target: string): Promise<void> {
  binding ??= bind();
  const { umount, errno } = await binding;
  await onThread("umount2", target, errno, (done) => umount.async(target, 0, done));
}

/** They may take long: a journal is replayed, or everything is written. */
async function onThread(
  syscall: string,
  about: string,
  errno: () => number,
  call: (done: (error: Error | null, result: number) => void) => void,
): Promise<void> {
  const failure = await new Promise<number>((resolve, reject) => {
    call((error, result) => {
      if (error === null) resolve(result === 0 ? 0 : errno());
      else reject(error);
    });
  });
  if (failure !== 0) throw new SystemCallError(syscall, failure, about);
}

/** A tmpfs that nobody but root looks into. It may have nodes of devices. @throws SystemCallError */
export async function mountMemory(directory: string): Promise<void> {
  await mount("tmpfs", directory, "tmpfs", "mode=0700,size=1m", 0);
}

export interface LoopDevice {
  /** `7:3`, as device-mapper takes it. */
  readonly number: string;
  /** Lets it go: the kernel frees it as soon as nobody else uses it. */
  close(): Promise<void>;
}

/**
 * A block device whose sectors are those of a file.
 *
 * @param nodes a folder for nodes of devices, which may not be in /dev
 * @throws SystemCallError, VolumeError volume_tool_failed where there is no free one
 */
export async function attachLoop(file: string, nodes: string): Promise<LoopDevice> {
  binding ??= bind();
  const { ioctl, errno } = await binding;
  const control = await openNode(nodes, "loop-control", constants.S_IFCHR, MISC_MAJOR, LOOP_CTRL_MINOR);
  const backing = await open(file, "r+");
  try {
    // Another program may take the free one first.
    for (let tries = 0; tries < 8; tries++) {
      const free = ioctl(control.fd, LOOP_CTL_GET_FREE, null) as number;
      if (free < 0) throw new SystemCallError("ioctl", errno(), "loop-control");
      const loop = await openNode(nodes, `loop${free}`, constants.S_IFBLK, LOOP_MAJOR, free);
      const config = Buffer.alloc(LOOP_CONFIG_BYTES);
      config.writeUInt32LE(backing.fd, 0);
      config.writeUInt32LE(LO_FLAGS_AUTOCLEAR, 8 + 52);
      if ((ioctl(loop.fd, LOOP_CONFIGURE, config) as number) === 0) {
        return { number: `${LOOP_MAJOR}:${free}`, close: () => loop.close() };
      }
      const failure = errno();
      await loop.close();
      if (getSystemErrorName(-failure) !== "EBUSY") throw new SystemCallError("ioctl", failure, `loop${free}`);
    }
  } finally {
    await backing.close();
    await control.close();
  }
  throw new VolumeError("volume_tool_failed", "there is no free loop device", { where: "/dev/loop-control" });
}

async function openNode(folder: string, name: string, type: number, major: number, minor: number): Promise<FileHandle> {
  binding ??= bind();
  const { mknod, errno } = await binding;
  const path = join(folder, name);
  if ((mknod(path, type | 0o600, deviceNumber(major, minor)) as number) !== 0) {
    const failure = errno();
    if (getSystemErrorName(-failure) !== "EEXIST") throw new SystemCallError("mknod", failure, path);
  }
  return open(path, "r+");
}

/** As makedev(3). */
function deviceNumber(major: number, minor: number): number {
  return ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12);
}

/** `254:0` of a block device. @throws VolumeError volume_unsuitable; the system's error */
export async function blockDeviceNumber(path: string): Promise<string> {
  const { rdev, ...stats } = await stat(path, { bigint: true });
  if ((stats.mode & BigInt(constants.S_IFMT)) !== BigInt(constants.S_IFBLK)) {
    throw new VolumeError("volume_unsuitable", "this is no block device", {
      where: path,
      hint: "the PersistentVolumeClaim needs volumeMode: Block",
    });
  }
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}
