import { EvidenceError } from "./error.ts";
import type { SignedTime } from "./signed-time.ts";

/**
 * How far vendors are known to have come, by what they signed: the newest time, and the highest evaluation of Intel's.
 * It is never earlier again, whatever the host's clock and the host's network say.
 *
 * Only verified evidence moves it, and only that of hardware: nobody else can sign under a pinned root. A time that was
 * verified was not later than the clock, so a vendor's mistake can't push the mark beyond the time that it is.
 */
export interface HighWater {
  readonly time: SignedTime | undefined;
  /** `tcbEvaluationDataNumber` of TCB infos and QE identities: one count of Intel's for all of them. */
  readonly evaluation: number | undefined;
}

export const NOTHING_SEEN: HighWater = { time: undefined, evaluation: undefined };

/** What moves the mark. */
interface Endorsed {
  readonly simulated: boolean;
  /** When the vendor signed what was verified on the way. */
  readonly signedTimes: readonly SignedTime[];
  /** Of the TCB info and the QE identity; AMD has no such numbers. */
  readonly tcbEvaluationDataNumbers?: Evaluations;
}

type Evaluations = readonly [tcbInfo: number, qeIdentity: number];

/** Collateral of Intel's, verified. */
interface Evaluated {
  readonly tcbEvaluationDataNumbers: Evaluations;
}

/**
 * @param fetched the collateral came from Intel's service. What a peer brought along moves no evaluation: Intel signs the
 *   next one early for those who ask for it, and a peer could bring that to shut out all who show the current one
 */
export function raised(mark: HighWater, verified: Endorsed, fetched: boolean): HighWater {
  if (verified.simulated) return mark;
  const times = [...(mark.time === undefined ? [] : [mark.time]), ...verified.signedTimes];
  const [first, ...others] = times;
  const time = first && others.reduce((newest, each) => (each.time > newest.time ? each : newest), first);
  const evaluations = verified.tcbEvaluationDataNumbers;
  if (evaluations === undefined || !fetched) return { ...mark, time };
  return { time, evaluation: Math.max(mark.evaluation ?? 0, ...evaluations) };
}

/** Whether Intel is known to have evaluated anew since it signed the collateral of a quote. */
export function isSuperseded({ evaluation = 0 }: HighWater, { tcbEvaluationDataNumbers }: Evaluated): boolean {
  return Math.min(...tcbEvaluationDataNumbers) < Math.max(evaluation, ...tcbEvaluationDataNumbers);
}

/** @throws EvidenceError collateral_superseded */
export function refuseSuperseded(mark: HighWater, verified: Evaluated): void {
  if (!isSuperseded(mark, verified)) return;
  const [tcbInfo, qeIdentity] = verified.tcbEvaluationDataNumbers;
  throw new EvidenceError("collateral_superseded", "Intel has evaluated anew since it signed the collateral", {
    where: "tcbEvaluationDataNumber",
    got: `${tcbInfo} of the TCB info, ${qeIdentity} of the QE identity`,
    want: `at least ${Math.max(mark.evaluation ?? 0, tcbInfo, qeIdentity)}, which was seen`,
    hint: "look at what stands between here and Intel: a proxy that hands out old copies, or copies of two kinds",
  });
}

/** The mark of one process. */
export class HighWaterMark {
  #mark = NOTHING_SEEN;

  get mark(): HighWater {
    return this.#mark;
  }

  /** @param fetched as for `raised` */
  raise(verified: Endorsed, fetched: boolean): void {
    this.#mark = raised(this.#mark, verified, fetched);
  }
}
