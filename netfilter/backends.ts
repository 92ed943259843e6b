import type { Environment } from "../runtime/environment.ts";
import { NetfilterError } from "./error.ts";
import type { Family } from "./families.ts";
import { Iptables, missing } from "./iptables.ts";
import { hasLegacyTable } from "./legacy-tables.ts";

/** A backend that has said which rules are in a table. */
export interface Seen {
  readonly backend: Iptables;
  /** Each as the line that would make it. */
  readonly rules: readonly string[];
}

/** What there is of a table: one backend may drop what the other lets in. */
export interface Backends {
  /** These may have rules. */
  readonly seen: readonly Seen[];
  /** The kernel says that this one has no such table. It has not been used, and may not be usable. */
  readonly unused: Iptables | undefined;
}

/**
 * Looks at a table in both backends. What could not be looked at is an error: rules that nobody sees are not "no rules".
 * Without NET_ADMIN that is every table, without NET_RAW every table of the legacy backend; only where the kernel itself
 * says that it has no such table, or that it does not know the backend, is nothing there.
 *
 * @throws NetfilterError `iptables_missing`, `iptables_failed`
 */
export async function lookAt(family: Family, table: string, environment: Environment): Promise<Backends> {
  const { failures, ...backends } = await tryToLook(family, table, environment);
  if (failures[0] !== undefined) throw failures[0];
  return backends;
}

/** As `lookAt`, for whoever has something to do in what could be looked at before it fails. */
export async function tryToLook(
  family: Family,
  table: string,
  environment: Environment,
): Promise<Backends & { readonly failures: readonly NetfilterError[] }> {
  const installed = await Iptables.installed(family, environment);
  const seen: Seen[] = [];
  const failures: NetfilterError[] = [];
  const isUnused = (await hasLegacyTable(family, table)) === false;
  for (const kind of isUnused ? (["nft"] as const) : (["nft", "legacy"] as const)) {
    try {
      const one = await look(family, table, environment, installed.get(kind), kind);
      if (one !== undefined) seen.push(one);
    } catch (error) {
      if (!(error instanceof NetfilterError)) throw error;
      failures.push(error);
    }
  }
  return { seen, unused: isUnused ? installed.get("legacy") : undefined, failures };
}

/** @returns undefined where the kernel does not know the backend */
async function look(
  family: Family,
  table: string,
  environment: Environment,
  backend: Iptables | undefined,
  kind: "nft" | "legacy",
): Promise<Seen | undefined> {
  if (backend === undefined) throw missing(family, kind, environment);
  try {
    return { backend, rules: await backend.list(table) };
  } catch (error) {
    if (error instanceof NetfilterError && UNKNOWN_TO_KERNEL[kind].test(error.got ?? "")) return undefined;
    throw error;
  }
}

/**
 * How iptables 1.8 says that the kernel lacks a backend, which is the kernel's answer to who may ask. nft: there is no
 * NETLINK_NETFILTER (EPROTONOSUPPORT), or nobody there for nf_tables (EINVAL, net/netfilter/nfnetlink.c). legacy: ENOENT of
 * IPT_SO_GET_INFO, or nobody there for that option (ENOPROTOOPT).
 */
const UNKNOWN_TO_KERNEL = {
  nft: /Failed to initialize nft: Protocol not supported|Could not fetch rule set generation id: Invalid argument/,
  legacy: /can't initialize ip6?tables table `\w+': (?:Table does not exist|ip6?tables who\?)/,
} as const;
