import { median } from "../rounds.ts";
import type { Case, Figure, Figures } from "./case.ts";
import type { Contestant } from "./proxies.ts";

/** What a case has come to. */
export interface Measured {
  readonly of: Case;
  readonly results: ReadonlyMap<Contestant, readonly Figures[]>;
}

/** The median of a figure over the rounds; NaN where there was none. */
export function medianOf(rounds: readonly Figures[], { name }: Figure): number {
  return median(rounds.map((figures) => figures[name] ?? NaN));
}

/** The value of one contestant; NaN where it failed or took no part. */
export function valueOf({ results }: Measured, figure: Figure, name: string): number {
  const [, rounds = []] = [...results].find(([contestant]) => contestant.name === name) ?? [];
  return medianOf(rounds, figure);
}

/** The best peer in one figure. */
export function best({ results }: Measured, figure: Figure): { value: number; name: string } | undefined {
  const peers = [...results]
    .filter(([{ isPeer }, rounds]) => isPeer && rounds.length > 0)
    .map(([{ name }, rounds]) => ({ name, value: medianOf(rounds, figure) }))
    .sort((a, b) => (figure.better === "more" ? b.value - a.value : a.value - b.value));
  return peers[0];
}

/** Three digits that count. */
export function text(value: number): string {
  if (Number.isNaN(value)) return "failed";
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}
