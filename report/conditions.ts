import { fromUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { unpinnedMachines, type WrittenReferenceValues } from "../manifest/unpinned-machines.ts";
import type { Content, Pod } from "./generation.ts";
import { areOwnRules, isPrivileged, permittedBy } from "./parsed-policy.ts";
import type { TimelineEntry } from "./timeline-entry.ts";

/** What a manifest is like as long as it is in force, where that deserves to be said. Equal texts are one condition. */
export type Condition = Omit<TimelineEntry, "generation">;

export function conditionsOf({ manifest, document, pods }: Content): Condition[] {
  return [
    ...platformConditions(manifest),
    ...machineConditions(document.ReferenceValues),
    ...ownerConditions(manifest),
    ...policyConditions(pods),
  ];
}

function platformConditions({ referenceValues: { snp, tdx, insecure } }: Manifest): Condition[] {
  const accepted = new Set(tdx.flatMap(({ allowedTcbStatuses = [] }) => allowedTcbStatuses));
  return [
    ...insecure.map(({ rootDigest }) =>
      warning("insecure_reference_values", `trusts a software TEE, which proves nothing: ${rootDigest}`),
    ),
    ...snp.flatMap(({ productName, guestPolicy }) => [
      ...(guestPolicy?.Debug === true
        ? [warning("debug_permitted", `lets the host debug VMs, and so read their memory (${productName})`)]
        : []),
      ...(guestPolicy?.MigrateMA === true
        ? [warning("migration_permitted", `lets a migration agent of the host move VMs (${productName})`)]
        : []),
    ]),
    ...[...accepted].map((status) =>
      warning("tcb_status_accepted", `accepts platforms with the TCB status ${status}, beside UpToDate`),
    ),
  ];
}

function machineConditions(referenceValues: WrittenReferenceValues): Condition[] {
  return unpinnedMachines(referenceValues).map(({ machines }) =>
    warning("unpinned_machines", `trusts ${machines}: anybody with physical access to one can impersonate a VM`),
  );
}

function ownerConditions({ workloadOwnerKeyDigests, seedshareOwnerPubKeys }: Manifest): Condition[] {
  return [
    ...(workloadOwnerKeyDigests.length > 0
      ? []
      : [note("immutable", "nobody may set another manifest after this one")]),
    ...(seedshareOwnerPubKeys.length > 0 ? [] : [note("no_recovery", "nobody can recover the Coordinator's secrets")]),
  ];
}

/** Of rules that this version does not make, one condition for all pods that have them: they are read once. */
function policyConditions(pods: readonly Pod[]): Condition[] {
  const rules = new Set(pods.flatMap(({ policy }) => policy?.generated?.rules ?? []));
  const strange = [...rules].filter((text) => !areOwnRules(text));
  return [
    ...pods.flatMap(({ name, hash, policy }) =>
      policy?.generated === undefined
        ? [warning("unknown_policy", `the policy of ${name} does not have the form that generate writes: ${hash}`)]
        : [
            ...policy.generated.data.containers
              .filter(isPrivileged)
              .map((container) =>
                warning("privileged_container", `${name} runs ${container.name} with all privileges`),
              ),
            ...permittedBy(policy.generated.data).map((what) =>
              warning("host_permitted", `${name} lets the host ${what}`),
            ),
          ],
    ),
    ...strange.map((text) =>
      warning("unknown_rules", `has policies with rules that this version does not make: ${sha256Hex(fromUtf8(text))}`),
    ),
  ];
}

function warning(code: Condition["code"], text: string): Condition {
  return { level: "warning", code, text };
}

function note(code: Condition["code"], text: string): Condition {
  return { level: "note", code, text };
}
