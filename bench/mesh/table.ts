import type { Figure } from "./case.ts";
import type { Conditions } from "./conditions.ts";
import { best, type Measured, medianOf, text, valueOf } from "./measured.ts";
import type { Contestant } from "./proxies.ts";
import { summary } from "./summary.ts";

export function table(
  all: readonly Measured[],
  conditions: ReadonlyMap<Contestant, Conditions>,
  facts: readonly string[],
): string {
  const growth = all.filter(({ of }) => of.section === "growth");
  const others = all.filter(({ of }) => of.section !== "growth");
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
    ...others.flatMap(comparison),
    "",
    ...(conditions.size === 0 ? [] : seen(conditions)),
    ...others.flatMap(rows),
    ...grown(growth),
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
function grown(cases: readonly Measured[]): string[] {
  const [first] = cases;
  if (first === undefined) return [];
  const { figures, section } = first.of;
  return [
    `## ${section}: the cost of more connections`,
    "",
    `| | ${figures.map(({ name }) => name).join(" | ")} |`,
    `|---|${"---|".repeat(figures.length)}`,
    ...cases.map((one) => {
      const values = figures.map((figure) => text(valueOf(one, figure, "mesh-proxy")));
      return `| ${one.of.name} | ${values.join(" | ")} |`;
    }),
    "",
  ];
}
