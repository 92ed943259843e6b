import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export type Family = "IPv4" | "IPv6";

const IPV6_SETTINGS = "/proc/sys/net/ipv6/conf";

/** The address families of this network namespace. IPv6 is off only where every interface, present or to come, has none. */
export async function addressFamilies(settings = IPV6_SETTINGS): Promise<readonly Family[]> {
  for (const name of await namesIn(settings)) {
    const isOff = (await readFile(join(settings, name, "disable_ipv6"), "latin1")).trim() === "1";
    if (!isOff) return ["IPv4", "IPv6"];
  }
  return ["IPv4"];
}

/** A kernel without IPv6 does not have the folder. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
