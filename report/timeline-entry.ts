/**
 * What an auditor should not have to find in the differences: what made a deployment weaker, or whose it is. An entry
 * stands at the manifest that began it. Warnings are for a person to understand; notes are good to know.
 */
export interface TimelineEntry {
  readonly generation: number;
  readonly level: "warning" | "note";
  readonly code: TimelineCode;
  readonly text: string;
}

/** docs/verify.md says what each means. */
export const TIMELINE_CODES = [
  "certificate_expires",
  "certificate_not_yet_valid",
  "changed_coordinator",
  "changed_owner",
  "changed_reference_values",
  "changed_seed_share_owner",
  "changed_though_immutable",
  "debug_permitted",
  "fewer_owners_needed",
  "format_allowed",
  "formatted",
  "host_permitted",
  "immutable",
  "insecure_reference_values",
  "longer_certificates",
  "lowered_minimum",
  "migration_permitted",
  "no_recovery",
  "old_manifest",
  "privileged_container",
  "rekeyed",
  "removed_pod",
  "secret_handed_over",
  "secret_readers",
  "tcb_status_accepted",
  "unknown_policy",
  "unknown_rules",
  "unpinned_machines",
  "unreadable_manifest",
] as const;
export type TimelineCode = (typeof TIMELINE_CODES)[number];
