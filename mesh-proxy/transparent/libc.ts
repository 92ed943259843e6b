import { getSystemErrorName } from "node:util";
import { MeshProxyError } from "../faults.ts";

/** The system calls that Node does not have, and that need a privilege. What talks to peers makes none of them. */
export interface Libc {
  /** @throws MeshProxyError `set_up` where the call fails */
  readonly call: (name: keyof typeof SIGNATURES, ...args: readonly (number | Uint8Array)[]) => number;
}

/** prctl(2) is declared with "...", which on Linux is called like this. */
const SIGNATURES = {
  socket: "int socket(int domain, int type, int protocol)",
  setsockopt: "int setsockopt(int fd, int level, int name, const void *value, uint32_t length)",
  bind: "int bind(int fd, const void *address, uint32_t length)",
  listen: "int listen(int fd, int backlog)",
  prctl: "int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)",
  capset: "int capset(const void *header, const void *data)",
} as const;

/** @throws MeshProxyError `set_up` */
export async function loadLibc(): Promise<Libc> {
  try {
    const { load, errno } = await import("koffi");
    const library = load(null);
    return {
      call(name, ...args) {
        const result = library.func(SIGNATURES[name])(...args) as number;
        if (result >= 0) return result;
        throw new MeshProxyError("set_up", "the kernel refused a step of the set-up", {
          where: name,
          got: getSystemErrorName(-errno()),
          hint: HINTS[name],
        });
      },
    };
  } catch (cause) {
    throw new MeshProxyError("set_up", "the native module koffi can't be loaded", {
      where: "koffi",
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "install the package with its optional dependencies, or use CONTRAST_INGRESS_MODE=bind",
      cause,
    });
  }
}

const HINTS: Partial<Record<keyof typeof SIGNATURES, string>> = {
  setsockopt: "grant NET_ADMIN; the kernel needs TPROXY",
  bind: "another program has the port: stop it",
  listen: "another program has the port: stop it",
};
