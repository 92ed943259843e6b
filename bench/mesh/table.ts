import { median } from "../rounds.ts";
import type { Contestant } from "./proxies.ts";
import type { Case, Figure, Figures } from "./sections.ts";

export interface Measured {
  readonly of: Case;
  readonly results: ReadonlyMap<Contestant, readonly Figures[]>;
}

/** The median of a figure over the rounds; NaN where there was none. */
export function medianOf(rounds: readonly Figures[], { name }: Figure): number {
  return median(rounds.map((figures) => figures[name] ?? NaN));
}

/** The best peer in one figure. */
function best({ results }: Measured, figure: Figure): { value: number; name: string } | undefined {
  const peers = [...results]
    .filter(([{ isPeer }, rounds]) => isPeer && rounds.length > 0)
    .map(([{ name }, rounds]) => ({ name, value: medianOf(rounds, figure) }))
    .sort((a, b) => (figure.better === "more" ? b.value - a.value : a.value - b.value));
  return peers[0];
}

export function table(all: readonly Measured[], facts: readonly string[]): string {
  return [
    "# The mesh proxy beside others",
    "",
    "Written by `npm run bench:mesh`. Plain, egress proxy, mutual TLS 1.3, ingress proxy, plain; everything on loopback and",
    "on the same certificates. Medians of interleaved rounds. Client and application share the cores with the proxies, so",
    "only the ratios mean something. CPU is that of both proxies, all their processes.",
    "",
    ...facts.map((fact) => `- ${fact}`),
    "",
    "![The figures as a plot](mesh.svg)",
    "",
    "## The mesh proxy to the best peer",
    "",
    "| | mesh proxy | best peer | ratio | bar |",
    "|---|---|---|---|---|",
    ...all.flatMap(comparison),
    "",
    ...all.flatMap(rows),
  ].join("\n");
}

function comparison(measured: Measured): string[] {
  const [, own = []] = [...measured.results].find(([{ name }]) => name === "mesh-proxy") ?? [];
  return measured.of.figures.flatMap((figure) => {
    const peer = best(measured, figure);
    const value = medianOf(own, figure);
    if (peer === undefined) return [];
    const ratio = value / peer.value;
    const isMet = figure.bar !== undefined && (figure.better === "more" ? ratio >= figure.bar : ratio <= figure.bar);
    const bar =
      figure.bar === undefined
        ? ""
        : `${figure.better === "more" ? "≥" : "≤"} ${figure.bar}, ${isMet ? "met" : "missed"}`;
    const what = `${measured.of.section}, ${measured.of.name}: ${figure.name}`;
    return [`| ${what} | ${text(value)} | ${text(peer.value)} (${peer.name}) | ${ratio.toFixed(2)} | ${bar} |`];
  });
}

function rows({ of, results }: Measured): string[] {
  return [
    `## ${of.section}: ${of.name}`,
    "",
    `| | ${of.figures.map(({ name }) => name).join(" | ")} |`,
    `|---|${"---|".repeat(of.figures.length)}`,
    ...[...results].map(
      ([{ name }, rounds]) => `| ${name} | ${of.figures.map((figure) => text(medianOf(rounds, figure))).join(" | ")} |`,
    ),
    "",
  ];
}

/** Three digits that count. */
export function text(value: number): string {
  if (Number.isNaN(value)) return "failed";
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}
