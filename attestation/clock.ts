import { EvidenceError } from "./error.ts";
import { HighWaterMark } from "./high-water.ts";
import type { SignedTime } from "./signed-time.ts";

/**
 * A VM's clock is its host's. Set back, it makes old revocation lists, TCB infos and certificates valid again. So a time
 * is refused that certainly has passed: before the program was built, before a vendor signed what this process has
 * verified, and before the manifest was made. How far the clock runs ahead can't be told, nor need it: everything that
 * is valid for a time only ends sooner.
 */

/** What certainly has passed. */
export interface Past {
  /** When the program was built; undefined: nobody knows. */
  readonly built: Date | undefined;
  /** The newest time that a vendor signed. */
  readonly signed: SignedTime | undefined;
  /** `NotBefore` of the manifest. */
  readonly notBefore: Date | undefined;
}

/** A manifest is made on another machine, whose clock is another one. Milliseconds. */
const TOLERANCE = 5 * 60 * 1000;

/** @throws EvidenceError clock_before_build, clock_before_vendor, clock_before_manifest */
export function checkTime(now: Date, { built, signed, notBefore }: Past): void {
  if (built !== undefined && !isAtOrAfter(now, built)) {
    throw tooEarly("clock_before_build", "the clock says a time before this program was built", now, {
      where: "build time",
      want: built.toISOString(),
    });
  }
  if (signed !== undefined && !isAtOrAfter(now, signed.time)) {
    throw tooEarly("clock_before_vendor", "the clock says a time before a vendor signed what was verified here", now, {
      where: signed.what,
      want: signed.time.toISOString(),
    });
  }
  if (notBefore !== undefined && !isAtOrAfter(now, new Date(notBefore.getTime() - TOLERANCE))) {
    throw tooEarly("clock_before_manifest", "the clock says a time before the manifest was made", now, {
      where: "$.NotBefore",
      want: `${notBefore.toISOString()}, less five minutes`,
    });
  }
}

/** Written so that what is no time counts as too early. */
function isAtOrAfter(now: Date, time: Date): boolean {
  return now >= time;
}

function tooEarly(
  code: "clock_before_build" | "clock_before_vendor" | "clock_before_manifest",
  message: string,
  now: Date,
  { where, want }: { readonly where: string; readonly want: string },
): EvidenceError {
  const got = Number.isNaN(now.getTime()) ? "no time" : now.toISOString();
  return new EvidenceError(code, message, { where, got, want: `at least ${want}`, hint: "correct the clock" });
}

export interface ClockOptions {
  readonly now: () => Date;
  /** Asked once, when it is needed. */
  readonly built: () => Date | undefined;
}

/** The clock of one process, and what it may not go back behind. Whoever decides or issues by time asks it. */
export class Clock {
  readonly highWater = new HighWaterMark();
  readonly #now: () => Date;
  readonly #built: () => Date | undefined;
  #knownBuilt: { readonly time: Date | undefined } | undefined;

  constructor({ now, built }: ClockOptions) {
    this.#now = now;
    this.#built = built;
  }

  /**
   * @param manifest by which is decided; undefined: by none
   * @throws EvidenceError as `checkTime`
   */
  now(manifest?: { readonly notBefore: Date | undefined }): Date {
    this.#knownBuilt ??= { time: this.#built() };
    const now = this.#now();
    const { time: signed } = this.highWater.mark;
    checkTime(now, { built: this.#knownBuilt.time, signed, notBefore: manifest?.notBefore });
    return now;
  }
}
