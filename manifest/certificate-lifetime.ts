import * as z from "zod/mini";

/**
 * How long the certificates of workloads live, and the intermediate CAs of their chains: a duration as Go, Kubernetes and
 * cert-manager write it, `8760h`, `1h30m`. Whole numbers without a sign and a leading zero, each unit once, the largest
 * first, so that no part of it can be overlooked.
 */
const UNITS = { h: 3_600_000, m: 60_000, s: 1000 } as const;
const FORM = /^(?=.)(?:([1-9]\d{0,7})h)?(?:([1-9]\d{0,7})m)?(?:([1-9]\d{0,7})s)?$/;

const SHORTEST = UNITS.h;
/** A year. */
const LONGEST = 8760 * UNITS.h;

/** What holds where a manifest says nothing: until certificates are renewed, pods have to live with theirs. */
export const DEFAULT_CERTIFICATE_LIFETIME = "8760h";

/** No certificate of a workload lives longer, in milliseconds, whatever its manifest said. */
export const LONGEST_CERTIFICATE_LIFETIME_MS = LONGEST;

/** Milliseconds. */
export const certificateLifetime = durationOf(
  [SHORTEST, LONGEST],
  'a duration from 1h to 8760h, like "720h" or "1h30m"',
);

/**
 * How long the mesh CA before stays trusted after a `set`, in milliseconds. The least is what all pods need to learn of the
 * new one and to change to it; the most is a week, which a rollout should not need.
 */
export const meshCaOverlap = durationOf(
  [5 * UNITS.m, 168 * UNITS.h],
  'a duration from 5m to 168h, like "1h", not longer than $.CertificateLifetime',
);

/**
 * How long earlier workload secrets can still be read after a rekey, in milliseconds. The least is what a rollout takes;
 * the most is a year.
 */
export const workloadSecretOverlap = durationOf([5 * UNITS.m, LONGEST], 'a duration from 5m to 8760h, like "168h"');

function durationOf([shortest, longest]: readonly [number, number], error: string) {
  const isWithin = (text: string): boolean => millisecondsOf(text) >= shortest && millisecondsOf(text) <= longest;
  return z.pipe(z.string({ error }).check(z.refine(isWithin, { error })), z.transform(millisecondsOf));
}

function millisecondsOf(text: string): number {
  const [, hours = "0", minutes = "0", seconds = "0"] = FORM.exec(text) ?? [];
  return Number(hours) * UNITS.h + Number(minutes) * UNITS.m + Number(seconds) * UNITS.s;
}
