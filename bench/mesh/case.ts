import type { Contestant, StartedPair } from "./proxies.ts";

/** What is measured. Each case measures every contestant in turn, round after round. */

export type Figures = Readonly<Record<string, number>>;

export interface Case {
  readonly section: Section;
  readonly name: string;
  /** The first figure is what the plot shows. */
  readonly figures: readonly Figure[];
  readonly takesPart: (contestant: Contestant) => boolean;
  /** Once is enough, for it hardly varies. */
  readonly isMeasuredOnce?: boolean;
  /** Measured on proxies that have been started for it; undefined: it starts them itself. */
  readonly onStarted?: { readonly isResuming: boolean; readonly measure: (pair: StartedPair) => Promise<Figures> };
  readonly alone?: (contestant: Contestant) => Promise<Figures>;
}

export interface Figure {
  readonly name: string;
  readonly better: "more" | "less";
  /** The ratio to the best peer that is aimed at. */
  readonly bar?: number;
  /** The value that is aimed at, whatever the peers have. */
  readonly limit?: number;
}

export const SECTIONS = ["bulk", "connections", "requests", "memory", "start", "threads", "growth"] as const;
export type Section = (typeof SECTIONS)[number];
