import type { Fault } from "../runtime/fault.ts";
import { pathText } from "./json.ts";
import type { PolicyEntry } from "./manifest.ts";
import type { San } from "./san.ts";

/**
 * Names that no workload may have. Under them the Coordinator serves inside the mesh: a pod that has one, and the network
 * with it, could stand in for the Coordinator and be sent what only that may see.
 */
const DOMAIN = "contrast.internal";

/** Under which the transit port serves. */
export const TRANSIT_NAME = `coordinator.${DOMAIN}`;

/**
 * Whether a certificate with this name could be taken for one of the Coordinator's: the name is the domain, lies below it, or
 * is a wildcard whose label would. `*` alone is for one label, and the domain has two.
 */
export function isReserved({ kind, value }: San): boolean {
  if (kind !== "dns") return false;
  // A trailing dot is no part of a name that a certificate may have, but somebody may accept one.
  const name = value.toLowerCase().replace(/\.$/, "");
  return name === DOMAIN || name.endsWith(`.${DOMAIN}`) || name === "*.internal";
}

/** The names of policies that are reserved. */
export function reservedNames(policies: Iterable<readonly [hash: string, entry: Pick<PolicyEntry, "sans">]>): Fault[] {
  return [...policies].flatMap(([hash, { sans }]) =>
    sans.flatMap((san, index) => {
      if (!isReserved(san)) return [];
      const where = pathText(["Policies", hash, "SANs", index]);
      return [{ where, got: san.value, want: `a name outside of ${DOMAIN}, where the Coordinator serves` }];
    }),
  );
}
