import { median } from "../rounds.ts";
import type { Conditions } from "./conditions.ts";
import type { Contestant } from "./proxies.ts";
import type { Case, Figure, Figures } from "./sections.ts";
import { summary } from "./summary.ts";

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

export function table(
  all: readonly Measured[],
  conditions: ReadonlyMap<Contestant, Conditions>,
  facts: readonly string[],
): string {
  const isCompared = ({ of }: Measured): boolean => of.section !== "threads" && of.section !== "growth";
  return [
    "# The mesh proxy beside others",
    "",
    "Written by `npm run bench:mesh`. Plain, egress proxy, mutual TLS 1.3, ingress proxy, plain; everything on loopback and",
    "on the same certificates. Medians of interleaved rounds. Client and application share the cores with the proxies, so",
    "only the ratios mean something. CPU is that of both proxies, all their processes. The mesh proxy is bundled as in its",
    "image. Memory is the proportional set size (PSS): the two proxies share a program's pages, and nobody else does.",
    "",
    ...facts.map((fact) => `- ${fact}`),
    "",
    ...summary(all),
    "",
    "![The figures as a plot](mesh.svg)",
    "",
    "## The mesh proxy to the best peer and to Envoy",
    "",
    "| | mesh proxy | best peer | ratio | Envoy | ratio | bar |",
    "|---|---|---|---|---|---|---|",
    ...all.filter(isCompared).flatMap(comparison),
    "",
    ...(conditions.size === 0 ? [] : seen(conditions)),
    ...all.filter(isCompared).flatMap(rows),
    ...grown(all, "threads", "threads: what more of them cost"),
    ...grown(all, "growth", "growth: what more connections cost"),
  ].join("\n");
}

function comparison(measured: Measured): string[] {
  return measured.of.figures.flatMap((figure) => {
    const own = valueOf(measured, figure, "mesh-proxy");
    const peer = best(measured, figure);
    if (peer === undefined) return [];
    const envoy = valueOf(measured, figure, "Envoy");
    const cells = [
      `${measured.of.section}, ${measured.of.name}: ${figure.name}`,
      text(own),
      `${text(peer.value)} (${peer.name})`,
      (own / peer.value).toFixed(2),
      text(envoy),
      Number.isNaN(envoy) ? "" : (own / envoy).toFixed(2),
      verdict(figure, own, own / peer.value),
    ];
    return [`| ${cells.join(" | ")} |`];
  });
}

function verdict({ better, bar, limit }: Figure, own: number, ratio: number): string {
  if (limit !== undefined) return `at most ${limit}, ${own <= limit ? "met" : "missed"}`;
  if (bar === undefined) return "";
  const isMet = better === "more" ? ratio >= bar : ratio <= bar;
  return `${better === "more" ? "≥" : "≤"} ${bar}, ${isMet ? "met" : "missed"}`;
}

function seen(conditions: ReadonlyMap<Contestant, Conditions>): string[] {
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  const yes = (is: boolean): string => (is ? "yes" : "NO");
  return [
    "## What each does",
    "",
    "Seen from between its two proxies, and by a client without a certificate and an upstream of another name.",
    "",
    "| | TLS | resumed, where sessions are | resumed, where none is to be | requires a client certificate | requires the upstream's name |",
    "|---|---|---|---|---|---|",
    ...[...conditions].map(([{ name }, { tls, resumed, resumedInFull, requiresCertificate, requiresName }]) => {
      const cells = [name, tls, percent(resumed), percent(resumedInFull), yes(requiresCertificate), yes(requiresName)];
      return `| ${cells.join(" | ")} |`;
    }),
    "",
  ];
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

/** The mesh proxy alone, its cases in one table. */
function grown(all: readonly Measured[], section: Case["section"], title: string): string[] {
  const cases = all.filter(({ of }) => of.section === section);
  if (cases.length === 0) return [];
  return [
    `## ${title}`,
    "",
    "| | |",
    "|---|---|",
    ...cases.flatMap(({ of, results }) =>
      [...results].map(([{ name }, rounds]) => {
        const figures = of.figures.map((figure) => `${text(medianOf(rounds, figure))} ${figure.name}`);
        return `| ${of.name}${section === "threads" ? `: ${name}` : ""} | ${figures.join("; ")} |`;
      }),
    ),
    "",
  ];
}

/** Three digits that count. */
export function text(value: number): string {
  if (Number.isNaN(value)) return "failed";
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}
