import { STALLED_MS } from "../../limits/numbers.ts";
import type { Kernel } from "../kernel.ts";
import type { Legs } from "../leg.ts";
import { FAREWELL_MS } from "./farewell.ts";
import { Rounds } from "./rounds.ts";
import { Splice, type SpliceOptions, type Surroundings } from "./splice.ts";

const TIMES: Pick<Surroundings, "lookMs" | "stalledMs"> = { lookMs: 2_000, stalledMs: STALLED_MS };

/** Joins connections. */
export class Splicer {
  readonly #surroundings: Surroundings;

  constructor(lookAt: Kernel["lookAt"], times = TIMES) {
    this.#surroundings = { ...times, lookAt, all: new Rounds(times.lookMs), farewells: new Rounds(FAREWELL_MS) };
  }

  /** @param legs established, and read by nobody */
  join(legs: Legs, options: SpliceOptions): Splice {
    return new Splice(legs, options, this.#surroundings);
  }
}
