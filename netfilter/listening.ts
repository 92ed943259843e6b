import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** TCP_LISTEN (include/net/tcp_states.h). */
const LISTEN = "0A";

/**
 * Whether a process of this network namespace listens at a port of TCP, whatever a packet filter says about connections to
 * it (proc_net(5), tcp: local address and port in hexadecimal, remote address, state).
 *
 * @returns true also where the kernel does not list them
 */
export async function isListening(port: number, folder = "/proc/net"): Promise<boolean> {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const tables = await Promise.all(["tcp", "tcp6"].map(async (name) => read(join(folder, name))));
  // A kernel without IPv6 lacks the second.
  if (tables[0] === undefined) return true;
  return tables.some((text = "") =>
    text
      .split("\n")
      .slice(1)
      .some((line) => {
        const [, local = "", , state] = line.trim().split(/\s+/);
        return local.endsWith(suffix) && state === LISTEN;
      }),
  );
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
