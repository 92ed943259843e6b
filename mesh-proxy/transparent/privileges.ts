import { readFile } from "node:fs/promises";
import type { Environment } from "../../runtime/environment.ts";
import { MeshProxyError } from "../faults.ts";
import type { Libc } from "./libc.ts";

/**
 * Capabilities belong to threads (capabilities(7)), and Node has several before its first line of JavaScript runs: none
 * of them can take a capability away from the others. execve(2) ends them all and goes on with what the calling thread
 * had. So the thread gives everything up, and the program starts again in the same process, with the sockets.
 */

/** Linux, <linux/capability.h> and <linux/prctl.h>. */
const CAP_NET_ADMIN = 12n;
const CAPABILITY_VERSION_3 = 0x2008_0522;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;

/** @throws MeshProxyError `net_admin_missing` */
export async function requireNetAdmin(): Promise<void> {
  const { effective } = await capabilities();
  if (((effective >> CAP_NET_ADMIN) & 1n) === 1n) return;
  throw new MeshProxyError("net_admin_missing", "transparent ingress needs the capability NET_ADMIN", {
    where: "CONTRAST_INGRESS_MODE",
    got: `capabilities ${effective.toString(16)}`,
    hint: "add NET_ADMIN to the container (ambient, where it runs as a plain user), or use mode bind",
  });
}

/** What serves has no privileges, so that whoever takes it over can't open the ports. @throws MeshProxyError `set_up` */
export async function requireNoCapabilities(): Promise<void> {
  const { effective, permitted } = await capabilities();
  if ((effective | permitted) === 0n) return;
  throw new MeshProxyError("set_up", "the serving process still has capabilities", {
    got: (effective | permitted).toString(16),
    hint: "leave CONTRAST_INGRESS_SOCKETS unset",
  });
}

/** @throws MeshProxyError `set_up`; else it does not return */
export function restartWithoutCapabilities({ call }: Libc, argv: readonly string[], environment: Environment): never {
  // Without this a process of uid 0 would get its capabilities back from execve.
  call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3);
  // Effective, permitted and inheritable, 32 bits of each, twice: none.
  call("capset", header, Buffer.alloc(24));
  const [program = ""] = argv;
  process.execve?.(program, argv, environment);
  throw new MeshProxyError("set_up", "this Node can't start a program in its place", { want: "Node 24.12 or later" });
}

/** proc_pid_status(5). */
async function capabilities(): Promise<{ readonly effective: bigint; readonly permitted: bigint }> {
  const status = await readFile("/proc/self/status", "latin1");
  const read = (name: string): bigint => BigInt(`0x${new RegExp(`^${name}:\\s*(\\w+)$`, "m").exec(status)?.[1] ?? ""}`);
  return { effective: read("CapEff"), permitted: read("CapPrm") };
}
