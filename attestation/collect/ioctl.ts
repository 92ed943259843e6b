import { EvidenceError } from "../error.ts";

/** ioctl(2), which Node lacks. Only who needs a device loads native code. */
let binding: ReturnType<typeof bind> | undefined;

/** Memory of C, which does not move: the kernel follows addresses. @throws EvidenceError tee_unavailable */
export async function loadMemory() {
  binding ??= bind();
  const { alloc, free, view } = await binding;
  return { alloc, free, view };
}

/**
 * Calls on another thread: the kernel may wait for firmware, or for the host, for a minute.
 *
 * @param address of the argument, which `loadMemory` allocated
 * @returns 0, or the error as Node gives it: negative
 */
export async function asyncIoctl(fd: number, command: number, address: bigint): Promise<number> {
  binding ??= bind();
  const { ioctl, errno } = await binding;
  return new Promise<number>((resolve, reject) => {
    ioctl.async(fd, command, address, (error: Error | null, result: number) => {
      if (error === null) resolve(result === 0 ? 0 : -errno());
      else reject(error);
    });
  });
}

async function bind() {
  try {
    const { alloc, free, view, load, errno } = await import("koffi");
    // C declares it with "...", which can't be called asynchronously; where SNP and TDX exist, on x86-64, both are called
    // alike.
    const ioctl = load(null).func("int ioctl(int fd, unsigned long request, void *argument)");
    return { alloc, free, view, ioctl, errno };
  } catch (cause) {
    throw new EvidenceError("tee_unavailable", "the native module koffi can't be loaded", {
      where: "koffi",
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "install the package with its optional dependencies, or use a kernel with configfs-tsm",
      cause,
    });
  }
}
