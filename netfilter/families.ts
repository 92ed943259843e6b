import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export type Family = "IPv4" | "IPv6";

const IPV6_SETTINGS = "/proc/sys/net/ipv6/conf";

/**
 * The address families of this network namespace. IPv6 is off only where every interface, present or to come, has none, or
 * where the kernel says that it does not know it.
 */
export async function addressFamilies(settings = IPV6_SETTINGS, kernelHas = kernelHasIpv6): Promise<readonly Family[]> {
  const isKnown = await kernelHas();
  const names = await namesIn(settings);
  // Settings that can't be seen are no settings that turn it off.
  if (names.length === 0) return isKnown ? ["IPv4", "IPv6"] : ["IPv4"];
  for (const name of names) {
    const isOff = (await readFile(join(settings, name, "disable_ipv6"), "latin1")).trim() === "1";
    if (!isOff) return ["IPv4", "IPv6"];
  }
  return ["IPv4"];
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/**
 * Whether the kernel knows IPv6: it has no such sockets (EAFNOSUPPORT, socket(2)) where it does not.
 *
 * A kernel that has IPv6 as a module loads it for the first one who wants such a socket, and then gives every interface an
 * address. That must not be the application, after the rules: it is done here, before anybody asks.
 */
export async function kernelHasIpv6(): Promise<boolean> {
  const socket = createSocket("udp6");
  try {
    const listening = once(socket, "listening");
    socket.bind(0, "::1");
    await listening;
    return true;
  } catch (error) {
    // Where it is off, this address is nobody's.
    return (error as NodeJS.ErrnoException).code !== "EAFNOSUPPORT";
  } finally {
    socket.close();
  }
}
