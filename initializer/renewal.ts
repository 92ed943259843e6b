import { X509Certificate } from "node:crypto";
import { trustDigest } from "../pki/trust-digest.ts";

/** When certificates are renewed, and what of the mesh CAs is trusted: decisions without a clock, files and a network. */

/** Where the clock of this machine is so wrong that every certificate is expired, in milliseconds. */
const LEAST_MS = 60_000;

/** A time by both clocks. The host may set the one, and the other stops with the machine: what comes first counts. */
export interface Instant {
  readonly wall: Date;
  /** Milliseconds since some time. */
  readonly monotonic: number;
}

/** An end that has come as soon as one of the clocks says so. */
export function isOver(end: Instant, now: Instant): boolean {
  return now.wall >= end.wall || now.monotonic >= end.monotonic;
}

export function msUntil(end: Instant, now: Instant): number {
  return Math.max(Math.min(end.wall.getTime() - now.wall.getTime(), end.monotonic - now.monotonic), 0);
}

export function laterBy({ wall, monotonic }: Instant, ms: number): Instant {
  return { wall: new Date(wall.getTime() + ms), monotonic: monotonic + ms };
}

/** @param at by the wall clock; in relation to `now` by the other */
export function instantAt(at: Date, now: Instant): Instant {
  return { wall: at, monotonic: now.monotonic + at.getTime() - now.wall.getTime() };
}

/**
 * When to renew a certificate: after two thirds of the time that is left to it, or up to a tenth earlier, so that pods which
 * started together don't come back together.
 *
 * @param certChain PEM, the leaf first
 * @param random of 0 to 1
 */
export function renewalOf(certChain: string, now: Instant, random: number): Instant {
  const left = endOf(certChain).getTime() - now.wall.getTime();
  return laterBy(now, Math.max(left * (2 / 3) * (1 - random / 10), LEAST_MS));
}

/** When the first certificate of a PEM expires. */
export function endOf(pem: string): Date {
  return new X509Certificate(pem).validToDate;
}

/**
 * How many of the mesh CAs of before the Coordinator trusts, by the digest that it gives. Those whose time is over are the
 * last ones, so it is one of the beginnings of the list.
 *
 * @param previous the latest first
 * @returns undefined where it is something else: another mesh CA
 */
export function trustedCount(digest: Uint8Array, meshCa: string, previous: readonly string[]): number | undefined {
  for (let count = previous.length; count >= 0; count--) {
    if (trustDigest([meshCa, ...previous.slice(0, count)]).equals(digest)) return count;
  }
  return undefined;
}

/**
 * Whether a pod keeps its certificate until a new mesh CA has settled: it is one that peers will trust so long, those that
 * have heard of the new mesh CA and those that have not.
 *
 * @param certChain of the certificate in use, PEM
 * @param previous the mesh CAs that stay trusted beside the new one, PEM
 */
export function canWait(certChain: string, previous: readonly string[], settled: Date): boolean {
  if (certChain === "") return false;
  const leaf = new X509Certificate(certChain);
  if (leaf.validToDate <= settled) return false;
  return previous.some((pem) => {
    const ca = new X509Certificate(pem);
    return ca.validToDate > settled && leaf.verify(ca.publicKey);
  });
}
