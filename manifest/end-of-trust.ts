import { isEqual } from "../bytes/encode.ts";
import type { Manifest, PolicyEntry } from "./manifest.ts";
import { REFERENCE_VALUE_KEYS } from "./reference-values.ts";
import { isSameValue } from "./same-value.ts";
import type { San } from "./san.ts";

/**
 * Why no certificate of the manifest before may be trusted under a new one, whatever its MeshCAOverlap says. A certificate
 * of before says what the manifest before granted: these names, to a pod of this policy, in a VM of these reference
 * values. It may be trusted for a while only where the new manifest grants the same, and more. And it may have been signed
 * by whoever had the mesh CA's key, which are the Coordinators of before.
 *
 * - A policy that is gone: its pods would keep their names.
 * - A name that a policy has no more: its pods would keep it.
 * - A role that changed: a Coordinator of before has the mesh CA's key and could make certificates of any name.
 * - A set of reference values that is gone or changed, like a higher minimum of the TCB: VMs that are trusted no more
 *   would be.
 * - An owner who is gone, of either kind, or more of them that it takes: what was in force until now was also the word of
 *   one who may not be believed any more.
 *
 * What is added ends nothing, nor do secrets and lifetimes: no certificate grants a secret.
 *
 * @returns for people; undefined: nothing that was granted before was taken away
 */
export function endOfTrust(before: Manifest, after: Manifest): string | undefined {
  return policyEnd(before, after) ?? valuesEnd(before, after) ?? ownersEnd(before, after);
}

function policyEnd({ policies: old }: Manifest, { policies }: Manifest): string | undefined {
  for (const [hash, entry] of old) {
    const found = policies.get(hash);
    if (found === undefined) return `it removes policy ${hash} (${namesOf(entry)})`;
    if (found.role !== entry.role) return `it changes the role of policy ${hash} (${namesOf(entry)})`;
    const gone = entry.sans.find((san) => !found.sans.some((other) => isSame(san, other)));
    if (gone !== undefined) return `it takes the name ${gone.value} from policy ${hash}`;
  }
  return undefined;
}

function namesOf({ sans }: PolicyEntry): string {
  return sans.map(({ value }) => value).join(", ") || "no names";
}

function isSame(one: San, other: San): boolean {
  return one.kind === other.kind && one.value === other.value;
}

function valuesEnd({ referenceValues: old }: Manifest, { referenceValues }: Manifest): string | undefined {
  for (const kind of REFERENCE_VALUE_KEYS) {
    const index = old[kind].findIndex((set) => !referenceValues[kind].some((other) => isSameValue(set, other)));
    if (index >= 0) return `it changes or removes $.ReferenceValues.${kind}[${index}] of the manifest before`;
  }
  return undefined;
}

function ownersEnd(before: Manifest, after: Manifest): string | undefined {
  const isWorkloadOwner = (key: string): boolean => after.workloadOwnerKeyDigests.includes(key);
  if (!before.workloadOwnerKeyDigests.every(isWorkloadOwner)) return "it removes a workload owner";
  if (after.workloadOwnerThreshold > before.workloadOwnerThreshold) return "it raises $.WorkloadOwnerThreshold";
  const isSeedshareOwner = (key: Uint8Array): boolean =>
    after.seedshareOwnerPubKeys.some((other) => isEqual(other, key));
  return before.seedshareOwnerPubKeys.every(isSeedshareOwner) ? undefined : "it removes a seed share owner";
}
