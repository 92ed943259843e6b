import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Family } from "./families.ts";

const FILE: Readonly<Record<Family, string>> = { IPv4: "ip_tables_names", IPv6: "ip6_tables_names" };

/**
 * Whether this network namespace has a table of the legacy backend. The kernel lists them in `/proc/net/ip_tables_names`
 * and `ip6_tables_names`, for each network namespace by itself, and makes the files when that backend is loaded
 * (net/netfilter/x_tables.c, `xt_proto_init`). uid 0 and gid 0 may read them without any capability. A table that is not
 * listed has no rules.
 *
 * @returns undefined where this user may not read the list
 */
export async function hasLegacyTable(
  family: Family,
  table: string,
  folder = "/proc/net",
): Promise<boolean | undefined> {
  try {
    return (await readFile(join(folder, FILE[family]), "latin1")).split("\n").includes(table);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") return undefined;
    if (code !== "ENOENT") throw error;
    // The kernel says no, and not a missing /proc: every network namespace has this one.
    await readFile(join(folder, "dev"));
    return false;
  }
}
