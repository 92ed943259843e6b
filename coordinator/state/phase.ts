/**
 * What a Coordinator can do.
 *
 * - empty: no manifest was ever set
 * - recovery: there is a history and its seed is not known; nothing of it is served
 * - active: a manifest is in force and the secrets are there
 * - stale: the secrets are there, and something else may be in force by now: nothing is served until that is known
 * - forked: there are two histories that don't continue each other: nothing is served until people have looked
 */
export const PHASES = ["empty", "recovery", "active", "stale", "forked"] as const;
export type Phase = (typeof PHASES)[number];
