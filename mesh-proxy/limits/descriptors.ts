import { closeSync, openSync, readFileSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { getSystemErrorName } from "node:util";

/**
 * File descriptors, of which a process has a limited number. When none is left, libuv accepts connections only to close
 * them at once, and some clients take that for an answer that is empty. So the proxy stops accepting before: connections
 * then wait in the kernel's queue until others have ended.
 */

/** For connections that were accepted and are yet to be made on the other side, and for everything else. */
const MOST_RESERVED = 1_024;

export class Descriptors {
  readonly #most: number;

  /** @param limit of this process; undefined: none */
  constructor(limit: number | undefined) {
    this.#most = forConnections(limit);
  }

  /** The kernel gives the lowest number that is free: as many descriptors are in use, at least. */
  get areScarce(): boolean {
    try {
      const lowest = openSync("/dev/null", "r");
      closeSync(lowest);
      return lowest >= this.#most;
    } catch {
      return true;
    }
  }

  /** The same by the number that a connection has just got, which spares opening a file for each of them. */
  areScarceAt(accepted: Socket): boolean {
    const number = numberOf(accepted);
    return number === undefined ? this.areScarce : number >= this.#most;
  }
}

/** How many of the descriptors connections may use. */
export function forConnections(limit: number | undefined): number {
  return limit === undefined ? Infinity : limit - Math.min(MOST_RESERVED, Math.ceil(limit / 4));
}

/** The limit of this process (proc_pid_limits(5)); Node has raised it as far as it may. */
export function descriptorLimit(): number | undefined {
  const soft = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return soft === undefined ? undefined : Number(soft);
}

const F_DUPFD_CLOEXEC = 1030;

/**
 * A second descriptor of a socket: of one that listens, it keeps the queue when the server is closed; of a connection, it
 * can be read in place of the first one. Throws where there is none: Node does not tell the first one, or there are too many.
 */
export type Duplicate = (socket: Server | Socket) => number;

/** @throws where the native module can't be loaded */
export async function loadDuplicate(): Promise<Duplicate> {
  const { load, errno } = await import("koffi");
  const fcntl = load(null).func("int fcntl(int fd, int command, int argument)");
  return (socket) => {
    const number = numberOf(socket);
    if (number === undefined) throw new Error("the socket has no descriptor");
    const fd = fcntl(number, F_DUPFD_CLOEXEC, 0) as number;
    if (fd < 0) throw Object.assign(new Error("no second descriptor"), { code: getSystemErrorName(-errno()) });
    return fd;
  };
}

/** @throws as `loadDuplicate`, and `Duplicate` */
export async function duplicate(server: Server): Promise<number> {
  return (await loadDuplicate())(server);
}

/** By an undocumented property; undefined where this Node does not have it. */
export function numberOf(socket: Server | Socket): number | undefined {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: unknown } | null };
  return typeof handle?.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}
